import os
import re
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.records.batches import SETTLE_SECONDS, Batches, batch_digest, batch_key
from mlops_assets.lib.storage.root import Storage

SAFE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*-[0-9a-f]{12}")
LONG_AGO = 1_000_000_000.0


@pytest.fixture
def batches(tmp_path: Path) -> Batches:
    return Batches(Storage(tmp_path / "root"), "tiny")


def landing(batches: Batches) -> Path:
    return batches.storage.local(batches.landing)


def drop(batches: Batches, name: str, content: bytes, at: float = LONG_AGO) -> Path:
    """Put a file into the landing place by hand, last changed at a time."""
    path = landing(batches) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    os.utime(path, (at, at))
    return path


def hand_over(batches: Batches, folder: Path, name: str, content: bytes) -> Path:
    """Land a file from elsewhere."""
    file = folder / "elsewhere.csv"
    file.write_bytes(content)
    return batches.storage.local(batches.land(file, name))


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("heart.csv", "heart"),
        ("Heart Data (final), v2.csv", "heart-data-final-v2"),
        ('it\'s "quoted".csv', "it-s-quoted"),
        ("a,b;c.csv", "a-b-c"),
        ("Ünïcödé.csv", "unicode"),
        ("データ.csv", "batch"),
        ("!!!.csv", "batch"),
        (".csv", "batch"),
        ("", "batch"),
        ("no suffix", "no-suffix"),
        ("archive.tar.gz", "archive-tar"),
        ("../../etc/passwd", "batch"),
        ("-rf.csv", "rf"),
        ("x" * 300 + ".csv", "x" * 40),
        ("x" * 39 + "-y.csv", "x" * 39),
        ("a\nb\0c.csv", "a-b-c"),
    ],
)
def test_key_is_safe_and_says_where_the_batch_comes_from(name: str, slug: str) -> None:
    key = batch_key(name, "0" * 64)
    assert SAFE.fullmatch(key)
    assert key.rsplit("-", 1) == [slug, batch_digest(name, "0" * 64)[:12]]


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=80), st.binary(max_size=8))
@settings(deadline=None, derandomize=True)
def test_key_of_any_name_is_safe_short_and_repeatable(name: str, content: bytes) -> None:
    key = batch_key(name, content.hex())
    assert SAFE.fullmatch(key)
    assert len(key) <= 53
    assert key == batch_key(name, content.hex())


def test_key_differs_by_name_and_by_content() -> None:
    keys = {
        batch_key(name, content)
        for name in ("a.csv", "A.csv", "a.txt", "a-.csv", "a,.csv")
        for content in ("0" * 64, "1" * 64)
    }
    assert len(keys) == 10


def test_landed_file_becomes_a_batch_at_the_next_look(batches: Batches, tmp_path: Path) -> None:
    path = hand_over(batches, tmp_path, "Heart Data.csv", b"a\n1\n")
    batches.look(1_700_000_000.5)
    (receipt,) = batches.receipts()
    content = file_digest(path)
    assert receipt.key == batch_key("Heart Data.csv", content)
    assert (receipt.name, receipt.path, receipt.size) == ("Heart Data.csv", str(path), 4)
    assert (receipt.content, receipt.digest) == (content, batch_digest("Heart Data.csv", content))
    assert receipt.landed_at == "2023-11-14T22:13:20.500000+00:00"
    assert Path(receipt.path).read_bytes() == b"a\n1\n"


def test_same_file_landed_twice_is_one_file(batches: Batches, tmp_path: Path) -> None:
    first = hand_over(batches, tmp_path, "a.csv", b"a\n1\n")
    assert hand_over(batches, tmp_path, "a.csv", b"a\n1\n") == first
    batches.look(LONG_AGO)
    batches.look(LONG_AGO + 9)
    assert len(batches.keys()) == 1
    assert [p for p in landing(batches).rglob("*") if p.is_file()] == [first]
    assert batches.receipts()[0].landed_at == "2001-09-09T01:46:40+00:00"


def test_new_content_under_a_used_name_replaces_nothing(batches: Batches, tmp_path: Path) -> None:
    old = hand_over(batches, tmp_path, "a.csv", b"a\n1\n")
    batches.look(LONG_AGO)
    new = hand_over(batches, tmp_path, "a.csv", b"a\n2\n")
    batches.look(LONG_AGO + 1)
    assert (old.read_bytes(), new.read_bytes()) == (b"a\n1\n", b"a\n2\n")
    assert [Path(r.path) for r in batches.receipts()] == [old, new]


def test_same_content_under_another_name_is_another_batch(batches: Batches, tmp_path: Path) -> None:
    for name in ("a.csv", "b.csv"):
        hand_over(batches, tmp_path, name, b"a\n1\n")
    batches.look(LONG_AGO)
    first, second = batches.receipts()
    assert first.content == second.content
    assert first.key != second.key


def test_file_overwritten_in_place_is_a_second_batch(batches: Batches) -> None:
    drop(batches, "a.csv", b"a\n1\n")
    batches.look(LONG_AGO + 100)
    drop(batches, "a.csv", b"a\n2\n", at=LONG_AGO + 101)
    batches.look(LONG_AGO + 200)
    assert [r.landed_at for r in batches.receipts()] == [
        "2001-09-09T01:48:20+00:00",
        "2001-09-09T01:50:00+00:00",
    ]


def test_file_that_still_changes_is_left_alone(batches: Batches) -> None:
    drop(batches, "a.csv", b"a\n1", at=LONG_AGO)
    batches.look(LONG_AGO)
    batches.look(LONG_AGO + SETTLE_SECONDS - 0.01)
    assert batches.keys() == []
    batches.look(LONG_AGO + SETTLE_SECONDS)
    assert len(batches.keys()) == 1


def test_landed_file_need_not_settle(batches: Batches, tmp_path: Path) -> None:
    hand_over(batches, tmp_path, "a.csv", b"a\n1\n")
    batches.look(time.time())
    assert len(batches.keys()) == 1


@pytest.mark.parametrize("name", [".hidden.csv", ".folder/a.csv", "b/.hidden", ".partial-a.csv"])
def test_hidden_file_is_ignored(batches: Batches, name: str) -> None:
    drop(batches, name, b"a\n1\n")
    drop(batches, "seen/here.csv", b"a\n1\n")
    batches.look(LONG_AGO + 100)
    assert [r.name for r in batches.receipts()] == ["here.csv"]


@pytest.mark.parametrize("name", [".hidden.csv", "..", "a/b.csv", "../../escape.csv", "/etc/x"])
def test_name_that_would_be_lost_or_leave_the_landing_place_is_refused(
    batches: Batches, tmp_path: Path, name: str
) -> None:
    with pytest.raises(ValueError, match="has a name of its own"):
        hand_over(batches, tmp_path, name, b"a\n1\n")
    assert not landing(batches).exists()


def test_file_or_folder_that_cannot_land_is_refused(batches: Batches, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        batches.land(tmp_path / "nothing.csv")
    with pytest.raises(IsADirectoryError):
        batches.land(tmp_path)
    assert not landing(batches).exists()


@pytest.mark.parametrize(
    "name", ["Ünïcödé データ.csv", 'it\'s a "quote", really.csv', "x" * 240 + ".csv", "a\nb.csv"]
)
def test_file_with_an_awkward_name_lands(batches: Batches, tmp_path: Path, name: str) -> None:
    hand_over(batches, tmp_path, name, b"a\n1\n")
    batches.look(time.time())
    (receipt,) = batches.receipts()
    assert receipt.name == name
    assert Path(receipt.path).read_bytes() == b"a\n1\n"


def test_name_that_is_not_utf8_lands_under_a_readable_one(batches: Batches) -> None:
    drop(batches, "good.csv", b"a\n1\n")
    odd = os.fsencode(landing(batches)) + b"/caf\xe9.csv"
    Path(os.fsdecode(odd)).write_bytes(b"a\n2\n")
    batches.look(time.time() + 100)
    batches.look(time.time() + 200)
    batches.look(time.time() + 300)
    good, copy = batches.receipts()
    assert (good.name, copy.name) == ("good.csv", "caf\ufffd.csv")
    assert Path(copy.path).read_bytes() == b"a\n2\n"


def test_broken_link_does_not_stop_the_look(batches: Batches) -> None:
    drop(batches, "b.csv", b"a\n1\n")
    (landing(batches) / "a.csv").symlink_to(landing(batches) / "nowhere.csv")
    batches.look(LONG_AGO + 100)
    assert [r.name for r in batches.receipts()] == ["b.csv"]


def test_nothing_has_landed_before_the_landing_place_is_there(batches: Batches) -> None:
    batches.look(LONG_AGO)
    assert (batches.keys(), batches.receipts(), batches.receipt("x")) == ([], [], None)


def test_receipts_are_in_the_order_of_landing(batches: Batches) -> None:
    for number, name in enumerate(("c.csv", "a.csv", "b.csv")):
        drop(batches, name, name.encode())
        batches.look(LONG_AGO + 100 + number / 2)
    assert [r.name for r in batches.receipts()] == ["c.csv", "a.csv", "b.csv"]


def test_receipt_stays_when_the_file_is_taken_away(batches: Batches) -> None:
    path = drop(batches, "a.csv", b"a\n1\n")
    batches.look(LONG_AGO + 100)
    path.unlink()
    batches.look(LONG_AGO + 200)
    assert [r.name for r in batches.receipts()] == ["a.csv"]


def test_pointer_says_which_object_of_a_stage_is_current(batches: Batches) -> None:
    drop(batches, "a.csv", b"a\n1\n")
    batches.look(LONG_AGO + 100)
    (key,) = batches.keys()
    assert batches.pointer(key, "raw") is None
    batches.point(key, "raw", {"digest": "one"})
    batches.point(key, "raw", {"digest": "two"})
    assert batches.pointer(key, "raw") == {"digest": "two"}
    assert batches.pointer(key, "validated") is None
    assert batches.keys() == [key]


def test_pointer_alone_is_not_a_batch(batches: Batches) -> None:
    batches.point("ghost-000000000000", "raw", {"digest": "one"})
    assert batches.keys() == []
