"""Kills, full disks and stores that are away: every answer is in Parquet once all the same."""

import errno
import json
import logging
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from serving.prediction_log import spool as spool_module
from serving.prediction_log.segments import Segment
from serving.prediction_log.streams import Head
from tests.disk import fill
from tests.serving.logged import (
    STREAM,
    add,
    ids_in,
    make,
    make_root,
    names,
    segments,
    wait_for_records,
)
from tests.serving.server import ROOT, wait_until
from tests.trouble import Trouble


def writer(tmp_path: Path, name: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tests.serving.log_writer"]
    places = [make_root(tmp_path / "storage"), tmp_path / "spool", tmp_path / name]
    return subprocess.Popen([*command, *map(str, places)], cwd=ROOT)


def test_a_kill_costs_at_most_the_last_second_and_doubles_nothing(tmp_path: Path) -> None:
    killed, times = ["one", "two"], {}
    processes = {name: writer(tmp_path, name) for name in [*killed, "three"]}
    for name in killed:
        wait_until((tmp_path / name).exists, f"{name} to begin")
        time.sleep(random.uniform(1.3, 2.0))
        processes[name].kill()
        times[name] = time.time()
        processes[name].wait()
    # One more process than there is work for: they take over each folder once.
    processes["four"] = writer(tmp_path, "four")
    wait_until((tmp_path / "four").exists, "four to begin")
    time.sleep(1.0)
    for name in ("three", "four"):
        processes[name].send_signal(signal.SIGTERM)
    assert [processes[name].wait(20) for name in ("three", "four")] == [0, 0]
    # Whatever the takers-over left when they were stopped.
    last = make(tmp_path)
    last.start()
    wait_until(lambda: not [p for p in segments(tmp_path) if p.suffix == ".ndjson"], "the rest")
    assert last.stop()
    assert segments(tmp_path) == []

    found: dict[str, list[int]] = {}
    for identity in ids_in(tmp_path / "storage"):
        name, number = identity.split("-")
        found.setdefault(name, []).append(int(number))
    for name in processes:
        said = [line.split() for line in (tmp_path / name).read_text().splitlines()]
        # Without a gap and without a double, from the first on.
        assert sorted(found[name]) == list(range(len(found[name])))
        safe = times[name] - 1.0 if name in times else math.inf
        promised = max(int(number) for number, at in said[:-1] if float(at) < safe)
        assert len(found[name]) >= promised


def test_a_store_that_is_away_holds_up_nobody(
    trouble: Trouble, s3_root: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.storage.sink._PATIENCE_SECONDS", 0.2)
    trouble.busy = 1_000_000
    log = make(tmp_path, s3_root)
    log.start()
    for number in range(3):
        add(log, names(10 * number, 10))
        time.sleep(0.3)
    wait_until(lambda: "answered 503" in (log.problem or ""), "the store's answer")
    assert "/day=2026-01-31/*.parquet: " in str(log.problem)
    backlog = log.backlog()
    assert (backlog.queued, backlog.spooled) == (0, 30)
    assert backlog.size > 0
    assert 0 < backlog.oldest_seconds < 20
    # Bounded, though the store does not answer; the next worker takes over.
    started = time.monotonic()
    assert not log.stop(0.5)
    assert time.monotonic() - started < 3
    log._roller.thread.join()
    log._spool.close()

    trouble.busy, trouble.lost = 0, 2
    second = make(tmp_path, s3_root)
    second.start()
    wait_until(lambda: second.stored == 30, "what was left")
    add(second, ["new"])
    assert second.stop()
    assert second.problem is None
    assert [path for path in segments(tmp_path) if path.suffix == ".ndjson"] == []
    puts = {seen for seen in trouble.seen if seen.startswith("PUT")}
    from serving.storage.bucket import bucket

    store = bucket(s3_root, 5.0)
    files = store.list("heart/served")
    assert len(files) == len(puts)
    for number, each in enumerate(files):
        assert "/day=2026-01-31/" in each.key
        target = tmp_path / f"got/heart/served/day=2026-01-31/{number}.parquet"
        target.parent.mkdir(parents=True, exist_ok=True)
        store.download(each, target)
    assert sorted(ids_in(tmp_path / "got")) == sorted([*names(0, 30), "new"])


@pytest.mark.parametrize("reserve", [0.1, 0.0])
def test_a_full_disk_costs_what_finds_no_room_and_nothing_else(
    disk: Path, monkeypatch: pytest.MonkeyPatch, reserve: float
) -> None:
    monkeypatch.setattr(spool_module, "_RESERVE_SHARE", reserve)
    log = make(disk, log_queue_records=500)
    log.start()
    add(log, names(0, 100))
    wait_until(lambda: log.stored == 100, "a file")
    ballast = fill(disk)
    for number in range(1, 10):
        add(log, names(100 * number, 100))
    wait_until(lambda: "left" in (log.problem or ""), "the disk's answer")
    wait_until(lambda: log._queue.blocked == "disk", "its reason")
    add(log, names(1000, 100))
    assert log.dropped["disk"] >= 100
    assert log.full
    lost = sum(log.dropped.values())
    ballast.unlink()
    wait_until(lambda: log.backlog().queued == 0, "an empty queue")
    add(log, names(1100, 100))
    assert log.stop()
    assert log.problem is None
    found = ids_in(disk / "storage")
    assert len(found) == len(set(found)) == 1200 - lost
    assert set(found) >= {*names(0, 600), *names(1100, 100)}


def test_a_mount_that_is_gone_is_not_written_into(tmp_path: Path) -> None:
    root, elsewhere = make_root(tmp_path / "storage"), tmp_path / "elsewhere"
    log = make(tmp_path)
    log.start()
    add(log, names(0, 10))
    wait_until(lambda: log.stored == 10, "a file")
    root.rename(elsewhere)
    add(log, names(10, 10))
    wait_until(lambda: "absent or empty" in (log.problem or ""), "an absent root to be told")
    assert not root.exists()
    root.mkdir()
    add(log, names(20, 10))
    wait_until(lambda: log.backlog().spooled == 20, "records that wait")
    time.sleep(1.0)  # another try
    assert log.problem == f"{root}: absent or empty, so nothing is written there: is it mounted?"
    assert list(root.iterdir()) == []
    root.rmdir()
    elsewhere.rename(root)
    assert wait_for_records(log, 30)
    assert sorted(ids_in(root)) == sorted(names(0, 30))


def test_the_spool_holds_so_much_and_no_more(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    log = make(tmp_path, tmp_path / "file" / "no folder", log_spool_mb=1, log_queue_records=1000)
    log.start()
    while "spool" not in log.dropped:
        add(log, names(0, 200))
        time.sleep(0.01)
    segments = (tmp_path / "spool").rglob("*.ndjson")
    assert sum(segment.stat().st_size for segment in segments) <= 1 << 20
    wait_until(lambda: "Not a directory" in str(log.problem), "the storage's answer")
    assert "limit" in str(log.problem)
    (tmp_path / "file").unlink()
    make_root(tmp_path / "file" / "no folder")
    wait_until(lambda: log.backlog().queued == 0, "an empty queue")
    assert log.stop()


def _kill_in_spool(tmp_path: Path, records: int) -> Path:
    """A segment whose worker is gone."""
    log = make(tmp_path, log_roll_seconds=60)
    log.start()
    add(log, names(0, records))
    wait_until(lambda: log.backlog().spooled == records, "a segment")
    log._writer._spool.sync()
    os.close(log._spool._lock or -1)  # as the end of its process would
    (segment,) = (tmp_path / "spool").rglob("*.ndjson")
    return segment


@pytest.mark.parametrize(
    "damage", [b'{"id": "torn", "us"', b'{"id": 1}', b"\0" * 4096, b'{"id": "x"}\0\0\n{}\n']
)
def test_a_torn_end_is_cut_off(tmp_path: Path, damage: bytes) -> None:
    segment = _kill_in_spool(tmp_path, 100)
    with segment.open("ab") as file:
        file.write(damage)
    (segment.parent / "000002.ndjson").write_bytes(b'{"stream": {"ty')
    log = make(tmp_path)
    log.start()
    assert wait_for_records(log, 100)
    assert segments(tmp_path) == []
    assert sorted(ids_in(tmp_path / "storage")) == sorted(names(0, 100))


def test_a_segment_that_is_stored_twice_is_there_once(tmp_path: Path) -> None:
    segment = _kill_in_spool(tmp_path, 100)
    copy = tmp_path / "copy"
    shutil.copytree(segment.parent, copy)
    for _ in range(2):
        log = make(tmp_path)
        log.start()
        assert wait_for_records(log, 100)
        # As if the process had been killed before it could remove the segment.
        shutil.copytree(copy, segment.parent)
    assert len(ids_in(tmp_path / "storage")) == 100


def test_a_damaged_segment_is_set_aside_and_nothing_of_it_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    segment = _kill_in_spool(tmp_path, 100)
    lines = segment.read_bytes().splitlines(keepends=True)
    head, record = json.loads(lines[0]), json.loads(lines[1])
    record["x"]["age"] = "Zaphod"
    lines[1] = json.dumps(record).encode() + b"\n"
    segment.write_bytes(b"".join(lines))
    assert head["day"] == "2026-01-31"
    log = make(tmp_path)
    with caplog.at_level(logging.DEBUG):
        log.start()
        wait_until(lambda: log.dropped.get("damaged") == 100, "the damage")
        add(log, names(0, 5))
        assert log.stop()
    assert "damaged/" in "".join(str(path) for path in segments(tmp_path))
    assert "set aside" in caplog.text
    said = caplog.text + str([getattr(record, "fields", "") for record in caplog.records])
    assert "Zaphod" not in said
    assert len(ids_in(tmp_path / "storage")) == 5


def test_a_segment_is_whole_or_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that takes half of a write."""
    segment = Segment(
        tmp_path / "s", Head(STREAM, "2026-01-31", 0.0),
        os.open(tmp_path / "s", os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    )  # fmt: skip
    segment.write(b"first\n", 1)
    real, calls = os.write, []

    def half(descriptor: int, content: Any) -> int:
        calls.append(content)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(descriptor, content[: len(content) // 2])

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", half)
        with pytest.raises(OSError, match="No space"):
            segment.write(b"second\n", 1)
    segment.write(b"third\n", 1)
    sealed = segment.seal()
    assert sealed.path.read_bytes() == b"first\nthird\n"
    assert (sealed.records, sealed.size) == (2, 12)
