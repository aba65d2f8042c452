"""API keys, known by their SHA-256 only.

A key is 256 random bits, so a plain digest is enough: there is nothing to try out. Two keys may
have one name, which is how a client changes its key without a gap.
"""

import hashlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from time import monotonic
from typing import Final, TypeVar

from serving.bundle.signature import entries

_LOOK_SECONDS: Final = 1.0
_LARGEST_KEY_BYTES: Final = 256
_ENTRY: Final = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]{0,63}):([0-9a-f]{64})")

log = logging.getLogger(__name__)

K = TypeVar("K")
V = TypeVar("V")


def parse_api_keys(text: str) -> dict[bytes, str]:
    """Read keys as `name:sha256`, separated by commas or lines.

    Returns:
        Names by digest, 32 bytes.

    Raises:
        ValueError: One of them is of another form. The message gives its place, not its text: it
            may be a key.
    """
    keys = {}
    for place, entry in enumerate(entries(text), start=1):
        found = _ENTRY.fullmatch(entry)
        if found is None:
            raise ValueError(f"entry {place} is not of the form name:sha256 (64 lower-case hex)")
        keys[bytes.fromhex(found[2])] = found[1]
    return keys


def read_key_file(path: Path, parse: Callable[[str], dict[K, V]]) -> dict[K, V]:
    """Read a file of keys, for example a mounted secret.

    Args:
        path: Of the file, UTF-8.
        parse: Reads its text.

    Raises:
        ValueError: It cannot be read, holds something else, or nothing. No key is repeated.
    """
    try:
        keys = parse(path.read_text("utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: not UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    if not keys:
        raise ValueError(f"{path}: holds no key")
    return keys


class ApiKeys:
    """Knows whose a key is. The file of keys is read again when it changes.

    For one thread: the event loop's. A look at the file costs some microseconds once a second.
    """

    def __init__(self, given: Mapping[bytes, str], path: Path | None = None) -> None:
        """Read the file, if there is one.

        Args:
            given: Names by digest; they hold as long as the process.
            path: A file with more of them, `name:sha256` a line.

        Raises:
            ValueError: The file cannot be read, holds no key or something else.
        """
        self._given = given
        self._path = path
        self._keys = dict(given)
        self._stamp: object = None
        self._problem = ""
        self._look_at = monotonic() + _LOOK_SECONDS
        if path is not None:
            self._read(path)

    def __bool__(self) -> bool:
        """Whether a key is asked for."""
        return bool(self._keys)

    def name(self, key: bytes) -> str | None:
        """Return the name of a key, or None if it is not known.

        The time it takes tells nothing of the keys: what is looked up is a digest, by a hash that
        is another in each process, and whoever knew a digest would still not have the key.

        Args:
            key: As the client sent it.
        """
        if self._path is not None and (now := monotonic()) >= self._look_at:
            self._look_at = now + _LOOK_SECONDS
            self._look(self._path)
        if len(key) > _LARGEST_KEY_BYTES:
            return None
        return self._keys.get(hashlib.sha256(key).digest())

    def _look(self, path: Path) -> None:
        """Follow a change of the file. A file that is gone or half written changes nothing."""
        try:
            if _stamp(path) == self._stamp:
                return
            self._read(path)
        except (OSError, ValueError) as error:
            problem = str(error)
        else:
            problem = ""
            log.info("API keys read again", extra={"fields": {"keys": len(self._keys)}})
        if problem and problem != self._problem:
            log.warning("API keys stay as they are", extra={"fields": {"problem": problem}})
        self._problem = problem

    def _read(self, path: Path) -> None:
        try:
            stamp = _stamp(path)
        except OSError as error:
            raise ValueError(f"{path}: cannot be read: {error.strerror}") from None
        keys = read_key_file(path, parse_api_keys)
        self._stamp, self._keys = stamp, {**self._given, **keys}


def _stamp(path: Path) -> tuple[int, int, int]:
    status = os.stat(path)  # noqa: PTH116 (a third of the cost)
    return status.st_mtime_ns, status.st_size, status.st_ino
