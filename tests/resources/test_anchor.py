"""The anchor: what shows that a ledger was cut off or written anew as a whole."""

import json
import shutil
from pathlib import Path

import pytest

from mlops_assets import cli
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.records.ledger import Ledger, LedgerError
from mlops_assets.lib.storage.root import Storage, as_bytes
from mlops_assets.resources.anchor import open_ledger

HEART = "heart_disease"


@pytest.fixture
def anchored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger of three entries in production; the second is anchored."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_ENVIRONMENT", "production")
    ledger = open_ledger(Storage(tmp_path / "storage"), HEART)
    for number in range(2):
        ledger.append("approved", about(number))
    # An older one never takes the place of a newer one.
    assert ledger.anchor is not None
    ledger.anchor.note(ledger.entries()[0])
    plain = Ledger(ledger.storage, HEART)
    plain.append("approved", about(2))
    return plain


def about(number: int, actor: str = "test") -> dict[str, str]:
    return {"version": str(number), "bundle": f"b{number}", "actor": actor}


def verify(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = cli.main(["ledger", "verify", HEART])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def rewritten(ledger: Ledger, count: int) -> None:
    """Replace a ledger by one of other decisions, whose chain holds."""
    folder = ledger.storage.local(f"{HEART}/ledger")
    shutil.rmtree(folder)
    for number in range(count):
        ledger.append("rejected", about(number, "eve"))
    assert len(ledger.verify()) == count


def test_a_ledger_that_holds_says_what_is_anchored(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = verify(capsys)
    assert code == 0
    assert f"{len(anchored.entries())} entries, the chain holds" in said
    assert "entry 2 is the one anchored in MLflow" in said


def test_a_ledger_that_was_cut_off_before_its_anchor_is_found(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (2, 3):
        anchored.storage.local(f"{HEART}/ledger/{number:08d}.json").unlink()
    assert len(anchored.verify()) == 1
    code, said = verify(capsys)
    assert code == 1
    assert "entry 2: was anchored in MLflow, and there are 1 entries: the ledger was cut" in said


def test_a_ledger_that_was_written_anew_is_found(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(anchored, 3)
    code, said = verify(capsys)
    assert code == 1
    assert "entry 2: is not the one that was anchored" in said


@pytest.mark.parametrize("count", [1, 5])
def test_nothing_is_added_to_a_ledger_that_lacks_its_anchor(anchored: Ledger, count: int) -> None:
    rewritten(anchored, count)
    with pytest.raises(LedgerError, match="entry 2"):
        open_ledger(anchored.storage, HEART).append("approved", about(9))
    assert len(anchored.verify()) == count


def test_what_the_anchor_does_not_show_is_what_came_after_it(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    anchored.storage.local(f"{HEART}/ledger/00000003.json").unlink()
    assert verify(capsys)[0] == 0


def test_an_edit_is_found_without_the_anchor(
    anchored: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LEDGER_ANCHOR", "off")
    path = anchored.storage.local(f"{HEART}/ledger/00000002.json")
    entry = json.loads(path.read_text()) | {"decision": "promoted"}
    entry["hash"] = digest_of({key: value for key, value in entry.items() if key != "hash"})
    path.write_bytes(as_bytes(entry))
    code, said = verify(capsys)
    assert code == 1
    assert "entry 3: does not follow from the entry before it" in said


def test_a_word_that_is_neither_on_nor_off_is_refused(
    anchored: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del anchored
    monkeypatch.setenv("MLOPS_LEDGER_ANCHOR", "maybe")
    code, said = verify(capsys)
    assert code == 1
    assert "MLOPS_LEDGER_ANCHOR='maybe': on or off" in said
