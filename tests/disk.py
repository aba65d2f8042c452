"""A disk that is soon full: a file system of a few megabytes."""

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

MEGABYTES = 3


@contextlib.contextmanager
def small_disk(mount: Path, megabytes: int = MEGABYTES) -> Iterator[Path]:
    """Mount a file system of a few megabytes; skip the test where that is not allowed."""
    mount.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(mount)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"mounting a file system is not allowed here: {made.stderr.strip()}")
    try:
        yield mount
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def fill(disk: Path) -> Path:
    """Leave no room for another page."""
    ballast = disk / "ballast"
    with contextlib.suppress(OSError), ballast.open("wb", buffering=0) as handle:
        while handle.write(bytes(1 << 12)):
            pass
    return ballast
