import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.records import ledger as ledger_module
from mlops_assets.lib.records.history import (
    awaiting_approval,
    awaiting_rollout,
    barred,
    champion,
    former_champions,
    last_decision,
    under_way,
    until,
)
from mlops_assets.lib.records.ledger import GENESIS, Kind, Ledger, LedgerError, MovedOnError
from mlops_assets.lib.storage.root import Storage, as_bytes

APPENDER = """
import sys, time
from pathlib import Path
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage, as_bytes
ledger = Ledger(Storage(sys.argv[1]), "tiny")
time.sleep(max(0.0, float(sys.argv[4]) - time.time()))
for number in range(int(sys.argv[3])):
    ledger.append("approved", {"bundle": sys.argv[2], "number": number})
    print(number, flush=True)
"""


@pytest.fixture
def ledger(request: pytest.FixtureRequest, tmp_path: Path) -> Ledger:
    remote = getattr(request, "param", "folder") == "s3"
    root = request.getfixturevalue("s3_root") if remote else tmp_path / "root"
    return Ledger(Storage(root), "tiny")


@pytest.fixture
def written(ledger: Ledger) -> Ledger:
    """A ledger of four entries."""
    decisions: list[Kind] = ["approved", "promoted", "rejected", "approved"]
    for number, decision in enumerate(decisions):
        ledger.append(decision, {"bundle": f"b{number}", "note": "é"})
    return ledger


def entry_file(ledger: Ledger, number: int) -> Path:
    return ledger.storage.local(f"tiny/ledger/{number:08d}.json")


def rewrite(path: Path, **changes: Any) -> None:
    path.write_bytes(as_bytes({**json.loads(path.read_text()), **changes}))


def start(root: str, who: str, count: int, at: float = 0) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", APPENDER, root, who, str(count), str(at)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_chain_verifies_and_carries_what_was_decided(written: Ledger) -> None:
    entries = written.verify()
    assert [e["sequence"] for e in entries] == [1, 2, 3, 4]
    assert [e["decision"] for e in entries] == ["approved", "promoted", "rejected", "approved"]
    assert [e["previous"] for e in entries] == [GENESIS, *(e["hash"] for e in entries[:-1])]
    assert {e["use_case"] for e in entries} == {"tiny"}
    assert entries[0]["time"] <= entries[-1]["time"]
    assert written.entries() == entries


def test_entry_is_given_back_as_it_is_read(ledger: Ledger) -> None:
    given = ledger.append("approved", {"checks": {10: "a", 2: "b"}, "rows": (1, 2), "note": None})
    assert ledger.verify() == [given]
    assert given["checks"] == {"10": "a", "2": "b"}
    assert given["hash"] == digest_of({k: v for k, v in given.items() if k != "hash"})


def test_empty_ledger_verifies(ledger: Ledger) -> None:
    assert ledger.verify() == []
    assert ledger.entries() == []


@pytest.mark.parametrize("field", ["hash", "previous", "sequence", "decision", "time", "use_case"])
def test_details_cannot_take_the_ledgers_own_fields(ledger: Ledger, field: str) -> None:
    with pytest.raises(ValueError, match=f"writes these fields itself: {field}"):
        ledger.append("approved", {field: "x"})
    assert ledger.entries() == []


def test_number_that_json_does_not_have_is_refused(ledger: Ledger) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        ledger.append("approved", {"score": float("nan")})
    assert ledger.entries() == []


@pytest.mark.parametrize(
    ("number", "changes", "found"),
    [
        (1, {"bundle": "other"}, "entry 1: was edited"),
        (4, {"decision": "promoted"}, "entry 4: was edited"),
        (2, {"extra": 1}, "entry 2: was edited"),
        (3, {"time": "2020-01-01T00:00:00+00:00"}, "entry 3: was edited"),
        (3, {"sequence": 4}, "entry 3: found number 4"),
        (3, {"previous": GENESIS}, "entry 3: does not follow"),
        (2, {"hash": "0" * 64}, "entry 2: was edited"),
        (4, {"hash": None}, "entry 4: was edited"),
    ],
)
def test_edit_is_found_and_named(
    written: Ledger, number: int, changes: dict[str, Any], found: str
) -> None:
    rewrite(entry_file(written, number), **changes)
    with pytest.raises(LedgerError, match=f"tiny ledger, {found}"):
        written.verify()


def test_edit_with_a_new_hash_is_found_at_the_next_entry(written: Ledger) -> None:
    path = entry_file(written, 2)
    entry = json.loads(path.read_text()) | {"bundle": "other"}
    entry["hash"] = digest_of({k: v for k, v in entry.items() if k != "hash"})
    path.write_bytes(as_bytes(entry))
    with pytest.raises(LedgerError, match="entry 3: does not follow from the entry before it"):
        written.verify()


@pytest.mark.parametrize("number", [1, 2, 3])
def test_removal_is_found_and_named(written: Ledger, number: int) -> None:
    entry_file(written, number).unlink()
    with pytest.raises(LedgerError, match=f"entry {number}: found number {number + 1}"):
        written.verify()


def test_removal_with_renumbered_files_is_found(written: Ledger) -> None:
    entry_file(written, 2).unlink()
    for number in (3, 4):
        entry_file(written, number).rename(entry_file(written, number - 1))
    with pytest.raises(LedgerError, match="entry 2: found number 3"):
        written.verify()


def test_reordering_is_found_and_named(written: Ledger, tmp_path: Path) -> None:
    two, three = entry_file(written, 2), entry_file(written, 3)
    two.rename(tmp_path / "aside")
    three.rename(two)
    (tmp_path / "aside").rename(three)
    with pytest.raises(LedgerError, match="entry 2: found number 3"):
        written.verify()


def test_reordering_with_new_numbers_is_found(written: Ledger) -> None:
    two, three = (json.loads(entry_file(written, n).read_text()) for n in (2, 3))
    rewrite(entry_file(written, 2), **{**three, "sequence": 2})
    with pytest.raises(LedgerError, match="entry 2: does not follow"):
        written.verify()
    rewrite(entry_file(written, 2), **{**three, "sequence": 2, "previous": two["previous"]})
    with pytest.raises(LedgerError, match="entry 2: was edited"):
        written.verify()


@pytest.mark.parametrize("name", ["00000002-copy.json", "00000003a.json", "copy.json"])
def test_number_that_is_there_twice_is_found(written: Ledger, name: str) -> None:
    copy = written.storage.local(f"tiny/ledger/{name}")
    copy.write_text(entry_file(written, 3).read_text())
    with pytest.raises(LedgerError, match=r"found number 3 in .*twice there"):
        written.verify()


def test_renamed_entry_is_found(written: Ledger) -> None:
    # It would still be read in its place, but the next entry would not come after it.
    entry_file(written, 4).rename(entry_file(written, 4).with_name("00000004x.json"))
    with pytest.raises(LedgerError, match=r"entry 4: found number 4 in 00000004x\.json"):
        written.verify()


@pytest.mark.parametrize("content", ["", "{", "null", "[]", "7", "\x00", '{"sequence": 3'])
def test_damaged_entry_is_found_and_named(written: Ledger, content: str) -> None:
    entry_file(written, 3).write_text(content)
    with pytest.raises(LedgerError, match=r"entry 3: 00000003\.json is not readable"):
        written.verify()
    assert [e["sequence"] for e in written.entries()] == [1, 2, 4]


def test_nothing_is_added_to_a_broken_chain(written: Ledger) -> None:
    rewrite(entry_file(written, 1), bundle="other")
    with pytest.raises(LedgerError, match="entry 1: was edited"):
        written.append("approved", {})
    assert len(written.entries()) == 4


def test_end_that_was_cut_off_still_chains(written: Ledger) -> None:
    # Known and said in `verify`: only an anchor outside the ledger can show it.
    entry_file(written, 4).unlink()
    assert len(written.verify()) == 3


@pytest.mark.parametrize("ledger", ["folder", "s3"], indirect=True)
def test_two_processes_append_one_chain(ledger: Ledger) -> None:
    at = time.time() + 1.0
    writers = [start(ledger.storage.root, who, 20, at) for who in ("one", "two")]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    entries = ledger.verify()
    assert len(entries) == 40
    for who in ("one", "two"):
        assert [e["number"] for e in entries if e["bundle"] == who] == list(range(20))
    assert {entries[0]["bundle"], entries[-1]["bundle"]} <= {"one", "two"}


def test_kill_while_appending_leaves_a_chain_that_verifies(ledger: Ledger) -> None:
    kept = 0
    for attempt in range(5):
        with start(ledger.storage.root, str(attempt), 10_000) as process:
            assert process.stdout is not None
            for _ in range(3 + attempt):
                process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        mine = [e["number"] for e in ledger.verify() if e["bundle"] == str(attempt)]
        # What was said to be written is there.
        assert mine == list(range(len(mine)))
        assert len(mine) >= 3 + attempt
        kept += len(mine)
    ledger.append("rejected", {"bundle": "last"})
    assert len(ledger.verify()) == kept + 1


def history(*decisions: str) -> list[dict[str, Any]]:
    """Entries from words such as `approved:a`."""
    split = [decision.split(":") for decision in decisions]
    return [{"sequence": n, "decision": d, "bundle": b} for n, (d, b) in enumerate(split, start=1)]


@pytest.mark.parametrize(
    ("decisions", "awaiting", "serving"),
    [
        ([], None, None),
        (["rejected:a"], None, None),
        (["approved:a"], 1, None),
        (["approved:a", "promoted:a"], None, 2),
        # A rollout that failed is tried again.
        (["approved:a", "aborted:a"], 1, None),
        (["approved:a", "aborted:a", "promoted:a"], None, 3),
        # The gate changed its mind before the rollout.
        (["approved:a", "rejected:a"], None, None),
        (["approved:a", "rejected:a", "approved:a"], 3, None),
        # Another version was refused in between.
        (["approved:a", "rejected:b"], 1, None),
        (["approved:a", "promoted:a", "rejected:b"], None, 2),
        # A later approval overtakes an earlier one, also when it is taken back.
        (["approved:a", "approved:b"], 2, None),
        (["approved:a", "approved:b", "rejected:b"], None, None),
        (["approved:a", "approved:b", "promoted:b"], None, 3),
        # The rollout of a ends after b was approved: b is not lost.
        (["approved:a", "approved:b", "promoted:a"], 2, 3),
        (["approved:a", "approved:b", "promoted:a", "promoted:b"], None, 4),
        (["approved:a", "approved:b", "aborted:a"], 2, None),
        # What serves stays champion until another is promoted.
        (["approved:a", "promoted:a", "approved:b"], 3, 2),
        (["approved:a", "promoted:a", "approved:b", "aborted:b"], 3, 2),
        (["approved:a", "promoted:a", "rejected:a"], None, 2),
        # A rollback overtakes an approval, is done once it is promoted, and no batch stops it.
        (["approved:a", "promoted:a", "approved:b", "rolled_back:a"], 4, 2),
        (["approved:a", "promoted:a", "approved:b", "rolled_back:a", "promoted:a"], None, 5),
        (["promoted:a", "promoted:b", "rolled_back:a", "aborted:a"], 3, 2),
        # What begins a rollout, waits or has expired settles nothing.
        (["approved:a", "rolling_out:a", "pending:b", "expired:b"], 1, None),
        # Back to an earlier version.
        (["approved:a", "promoted:a", "approved:b", "promoted:b", "approved:a"], 5, 4),
    ],
)
def test_history_says_what_awaits_its_rollout_and_what_serves(
    decisions: list[str], awaiting: int | None, serving: int | None
) -> None:
    entries = history(*decisions)
    for found, number in ((awaiting_rollout(entries), awaiting), (champion(entries), serving)):
        assert (None if found is None else found["sequence"]) == number


def test_what_was_taken_back_for_good_waits_for_another_decision() -> None:
    entries = [*history("approved:a", "promoted:a", "approved:b"), for_good("b")]
    assert under_way(entries) is None
    assert awaiting_rollout(entries) is None
    again = [*entries, {**person("approved", "b"), "sequence": 5}]
    assert awaiting_rollout(again) == again[-1]
    assert under_way(again) is None
    begun = [*again, {"decision": "rolling_out", "bundle": "b", "decision_of": 5}]
    assert under_way(begun) == (again[-1], begun[-1])


def test_in_every_history_only_the_newest_approval_awaits() -> None:
    words = [f"{d}:{b}" for d in ("approved", "rejected", "promoted", "aborted") for b in "ab"]
    for length in range(5):
        for decisions in product(words, repeat=length):
            entries = history(*decisions)
            approvals = [e for e in entries if e["decision"] == "approved"]
            found = awaiting_rollout(entries)
            if not approvals:
                assert found is None
                continue
            since = entries[approvals[-1]["sequence"] :]
            settled = any(
                e["bundle"] == approvals[-1]["bundle"] and e["decision"] in ("promoted", "rejected")
                for e in since
            )
            assert found == (None if settled else approvals[-1])


def person(decision: Kind, bundle: str) -> dict[str, Any]:
    return {"decision": decision, "bundle": bundle, "decided_by": "person"}


def back(bundle: str, leaving: str) -> dict[str, Any]:
    return {"decision": "rolled_back", "bundle": bundle, "from": {"bundle": leaving}}


def for_good(bundle: str) -> dict[str, Any]:
    return {"decision": "aborted", "bundle": bundle, "final": True}


@pytest.mark.parametrize(
    ("entries", "out"),
    [
        ([], ""),
        (history("approved:a", "rejected:a"), ""),
        ([person("rejected", "a")], "a"),
        ([person("rejected", "a"), person("approved", "a")], ""),
        # The gate does not let in what a person keeps out.
        ([person("rejected", "a"), *history("approved:a")], "a"),
        ([back("a", "b")], "b"),
        ([back("a", "b"), *history("promoted:a", "approved:b")], "b"),
        ([back("a", "b"), person("approved", "b")], ""),
        ([back("a", "b"), back("b", "a")], "a"),
        ([back("a", "c"), back("b", "a")], "ac"),
        # Nor what a rollout has taken back for good.
        ([*history("approved:a", "aborted:a"), person("approved", "b")], ""),
        ([*history("approved:a"), for_good("a"), *history("approved:a")], "a"),
        ([*history("approved:a"), for_good("a"), person("approved", "a")], ""),
    ],
)
def test_history_says_what_a_person_keeps_out(entries: list[dict[str, Any]], out: str) -> None:
    assert "".join(sorted(barred(entries))) == out


def test_history_says_who_was_champion_and_when() -> None:
    entries = history("promoted:a", "promoted:b", "promoted:a", "promoted:c", "aborted:d")
    assert [e["bundle"] for e in former_champions(entries)] == ["a", "b"]
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for number, entry in enumerate(entries):
        entry["time"] = (start + timedelta(days=number)).isoformat()
    then = [champion(until(entries, start + timedelta(days=day))) for day in (-1, 0, 1.5, 2, 9)]
    assert [entry and entry["bundle"] for entry in then] == [None, "a", "b", "a", "c"]
    assert former_champions([]) == []


def test_history_says_who_waits_for_a_person() -> None:
    entries = history("pending:a", "pending:b", "approved:a", "pending:c", "expired:b", "pending:a")
    assert [(e["bundle"], e["sequence"]) for e in awaiting_approval(entries)] == [
        ("a", 6),
        ("c", 4),
    ]


@pytest.mark.parametrize("actor", ["", "  ", "ann\nbob", "ann\x1b[2K", 7])
def test_nobody_decides_without_a_name_in_a_line(written: Ledger, actor: Any) -> None:
    with pytest.raises(ValueError, match="say in a line who decides"):
        written.append("approved", {"bundle": "a", "actor": actor})
    assert len(written.verify()) == 4


def test_a_field_that_stands_there_twice_is_an_edit(written: Ledger) -> None:
    path = entry_file(written, 2)
    path.write_text(path.read_text().replace("{", '{"decision": "rejected",', 1))
    assert json.loads(path.read_text())["decision"] == "promoted"
    with pytest.raises(LedgerError, match="entry 2: was edited"):
        written.verify()


def test_another_use_cases_ledger_is_not_this_ones(written: Ledger) -> None:
    other = Ledger(written.storage, "other")
    shutil.copytree(entry_file(written, 1).parent, written.storage.local("other/ledger"))
    with pytest.raises(LedgerError, match="other ledger, entry 1: is one of 'tiny'"):
        other.verify()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"x": "\\ud800"}', "{", "7", ""])
def test_what_cannot_be_read_is_named(written: Ledger, content: str) -> None:
    entry_file(written, 3).write_text(content)
    with pytest.raises(LedgerError, match="entry 3"):
        written.verify()
    with pytest.raises(LedgerError, match="entry 3"):
        written.append("approved", {"bundle": "a"})


def test_a_decision_that_was_taken_without_the_last_entry_is_not_written(written: Ledger) -> None:
    with pytest.raises(MovedOnError, match="has 4 entries, not 3"):
        written.append("approved", {"bundle": "a"}, after=3)
    assert len(written.verify()) == 4
    written.append("approved", {"bundle": "a"}, after=4)


def test_a_clock_that_jumps_back_changes_no_order(
    written: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Yesterday(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Yesterday":
            return cls.fromtimestamp(time.time() - 86_400, tz)

    last = written.verify()[-1]["time"]
    monkeypatch.setattr(ledger_module, "datetime", Yesterday)
    entry = written.append("promoted", {"bundle": "late"})
    assert entry["time"] == last
    assert (champion(until(written.verify(), datetime.fromisoformat(last))) or {}) == entry


def test_last_decision_is_the_newest_about_a_bundle() -> None:
    entries = history("approved:a", "approved:b", "promoted:a", "rejected:b", "approved:c")
    found = {b: last_decision(entries, b) for b in "abcd"}
    assert {b: e and e["sequence"] for b, e in found.items()} == {"a": 3, "b": 4, "c": 5, "d": None}
