"""The spool: segments on the local disk, where records are safe until their file is in the storage.

Each worker has a folder of its own, and holds a lock for as long as it lives. The lock goes with
the process, however that ends; whoever can take it afterwards takes over what the folder holds.

    <spool>/<root>/<worker>.lock     locked while the worker lives
    <spool>/<root>/<worker>/         its segments, `<number>.ndjson`
    <spool>/<root>/damaged/          segments that DuckDB could not read, for a person
"""

import errno
import fcntl
import hashlib
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import msgspec

from serving.prediction_log.segments import Sealed, Segment, recover
from serving.prediction_log.streams import Head, Stream

# Left free, so that there is room for the files that segments become; of small disks less.
_RESERVE_BYTES: Final = 16 << 20
_RESERVE_SHARE: Final = 0.1
_DAMAGED: Final = "damaged"
_SUFFIX: Final = ".ndjson"

_encoder = msgspec.json.Encoder()


class Spool:
    """One worker's segments. One thread writes; `adopt` and `remove` may be called by another."""

    def __init__(self, folder: Path, root: str) -> None:
        """Touch nothing yet.

        Args:
            folder: The spool, for any number of workers and storage roots.
            root: The storage root for which records are kept here.
        """
        self._base = folder / hashlib.sha256(root.encode()).hexdigest()[:16]
        self.folder = self._base / secrets.token_hex(8)
        self._lock: int | None = None
        self._open: dict[tuple[Stream, str], Segment] = {}
        self._numbers = 0
        # Of workers that are gone, as long as they are being emptied.
        self._adopted: dict[Path, int] = {}

    def open(self) -> None:
        """Make the folder and take its lock, if that is not done.

        Raises:
            OSError: It cannot be made.
        """
        if self._lock is None:
            # Personal data: for nobody else's eyes.
            self._base.mkdir(mode=0o700, parents=True, exist_ok=True)
            # The lock comes first: a folder that can be seen is locked, or nobody's.
            lock = _take(self._lock_of(self.folder))
            if lock is None:
                raise BlockingIOError(errno.EAGAIN, "Locked by another", str(self.folder))
            try:
                self.folder.mkdir(mode=0o700, exist_ok=True)
                _sync_folder(self._base)
            except OSError:
                os.close(lock)
                raise
            self._lock = lock

    @property
    def is_open(self) -> bool:
        """Whether records can be written."""
        return self._lock is not None

    @property
    def size(self) -> int:
        """Bytes of the segments that are written to."""
        return sum(each.size for each in tuple(self._open.values()))

    @property
    def records(self) -> int:
        """Records of the segments that are written to."""
        return sum(each.records for each in tuple(self._open.values()))

    @property
    def oldest(self) -> float | None:
        """When the oldest segment that is written to was started, in seconds since the epoch."""
        return min((each.head.opened for each in tuple(self._open.values())), default=None)

    def write(self, stream: Stream, day: str, content: bytes, records: int) -> None:
        """Append records to the segment of their stream and day; all of them, or none.

        Args:
            stream: What they are.
            day: The UTC day of all of them.
            content: Whole lines.
            records: How many.

        Raises:
            OSError: They cannot be written; the segment is as it was.
        """
        self._check_room(len(content))
        segment = self._open.get((stream, day)) or self._start(stream, day)
        segment.write(content, records)

    def sync(self) -> None:
        """Push what was written to the disk.

        Raises:
            OSError: The disk did not take it.
        """
        for segment in self._open.values():
            segment.sync()

    def seal(self, seconds: float, records: int, size: int) -> Iterator[Sealed]:
        """End the segments that are old or large.

        Args:
            seconds: The age at which one is old; 0 ends all.
            records: With so many one is large.
            size: With so many bytes one is large.

        Raises:
            OSError: The disk does not take one; it stays open.
        """
        oldest = time.monotonic() - seconds
        for key, each in list(self._open.items()):
            if each.since <= oldest or each.records >= records or each.size >= size:
                sealed = each.seal()
                del self._open[key]
                yield sealed

    def adopt(self) -> Iterator[Sealed]:
        """Take over the segments of workers that are gone; a last line that is torn is cut off.

        Raises:
            OSError: A folder or a segment cannot be read.
        """
        for folder in sorted(p for p in self._base.iterdir() if p.is_dir()):
            if folder in (self.folder, self._base / _DAMAGED) or folder in self._adopted:
                continue
            lock = _take(self._lock_of(folder))
            if lock is None:
                continue
            self._adopted[folder] = lock
            try:
                found = _recover_all(folder)
            except OSError:
                self._release(folder, self._adopted.pop(folder))
                raise
            yield from found
            self._release_if_empty(folder)

    def remove(self, sealed: Sealed) -> None:
        """Remove a segment, whose file is in the storage."""
        sealed.path.unlink(missing_ok=True)
        self._release_if_empty(sealed.path.parent)

    def set_aside(self, sealed: Sealed) -> Path:
        """Put a segment that cannot be read where nobody looks but a person, and tell where."""
        aside = self._base / _DAMAGED
        aside.mkdir(mode=0o700, exist_ok=True)
        target = aside / f"{sealed.path.parent.name}-{sealed.path.name}"
        sealed.path.rename(target)
        self._release_if_empty(sealed.path.parent)
        return target

    def close(self) -> None:
        """Let go of every lock; folders with nothing in them go."""
        for folder, lock in [*self._adopted.items(), (self.folder, self._lock)]:
            if lock is not None:
                self._release(folder, lock)
        self._adopted.clear()
        self._lock = None

    def _start(self, stream: Stream, day: str) -> Segment:
        self._numbers += 1
        path = self.folder / f"{self._numbers:06d}{_SUFFIX}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND
        segment = Segment(path, Head(stream, day, time.time()), os.open(path, flags, 0o600))
        try:
            segment.write(_encoder.encode(segment.head) + b"\n", 0)
            _sync_folder(self.folder)
        except OSError:
            os.close(segment.descriptor)
            path.unlink()
            raise
        self._open[stream, day] = segment
        return segment

    def _check_room(self, wanted: int) -> None:
        disk = os.statvfs(self.folder)
        reserve = min(_RESERVE_BYTES, int(disk.f_blocks * disk.f_frsize * _RESERVE_SHARE))
        if disk.f_bavail * disk.f_frsize - wanted < reserve:
            said = f"No space left but {reserve} bytes in reserve"
            raise OSError(errno.ENOSPC, said, str(self.folder))

    def _lock_of(self, folder: Path) -> Path:
        return folder.with_suffix(".lock")

    def _release_if_empty(self, folder: Path) -> None:
        lock = self._adopted.get(folder)
        if lock is not None and not (folder.is_dir() and any(folder.iterdir())):
            del self._adopted[folder]
            self._release(folder, lock)

    def _release(self, folder: Path, lock: int) -> None:
        with suppress(OSError):  # not empty: the next one to look finds the rest
            folder.rmdir()
        if not folder.exists():
            self._lock_of(folder).unlink(missing_ok=True)
        os.close(lock)


def _take(path: Path) -> int | None:
    """Lock a file, and make it if it is not there; None if somebody else holds it."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return None
        raise
    return descriptor


def abandoned(folder: Path, seconds: float) -> list[Path]:
    """Segments of a spool that nobody brings to the storage; nothing is changed.

    Args:
        folder: The spool, for any number of workers and storage roots.
        seconds: For how long nothing has been written to them, at least.
    """
    oldest, found = time.time() - seconds, []
    for worker in sorted(folder.glob("*/*/")):
        if worker.name == _DAMAGED or _is_held(worker.with_suffix(".lock")):
            continue
        for path in sorted(worker.glob(f"*{_SUFFIX}")):
            with suppress(FileNotFoundError):  # a worker has taken it over since
                if path.stat().st_mtime < oldest:
                    found.append(path)
    return found


def damaged(folder: Path) -> list[Path]:
    """Segments of a spool that could not be read and were set aside for a person.

    Args:
        folder: The spool, for any number of workers and storage roots.
    """
    return sorted(folder.glob(f"*/{_DAMAGED}/*{_SUFFIX}"))


def _is_held(path: Path) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return False
    try:
        # Not for itself alone: whoever else looks does not take it for a worker.
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return True
        raise
    finally:
        os.close(descriptor)
    return False


def _recover_all(folder: Path) -> list[Sealed]:
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        sealed = recover(path) if path.suffix == _SUFFIX else None
        if sealed is not None:
            found.append(sealed)
        else:  # nothing that was promised to anybody: half a head, or half a file
            path.unlink()
    return found


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
