"""What workers of one server tell each other: who is on trial, what serves, and who answers.

A challenger or a shadow can take a whole process down: its model runs as native code. No exception
tells of that, so each worker notes what it has on trial before it is loaded, and the supervisor,
who sees the crash, turns those off for every worker. A new process of the server starts afresh.

The notes lie in a folder for temporary files, which may be full or cleaned by others. So whoever
knows what is off remembers it as well, and nothing goes on trial that cannot be noted.
"""

import json
import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from serving.storage.bucket import StoreError

_SUSPECTS: Final = "suspects.json"


class Suspects:
    """Notes in a folder that a supervisor shares with its workers."""

    def __init__(self, folder: Path) -> None:
        """Use a folder. Whatever writes to it raises a StoreError if it cannot."""
        self._folder = folder
        self._off: dict[str, str] = {}
        self._kept = 0

    def keep(self) -> None:
        """Make what the supervisor has noted again if it is gone; cheap if it is not.

        Workers see that by `stamp`, and note what they know again.

        Raises:
            StoreError: It cannot be made.
        """
        if self._kept and self.stamp() == self._kept:
            return
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"{self._folder}: cannot be made: {error.strerror}") from None
        self._write(_SUSPECTS, self._off)
        self._kept = self.stamp()

    def touch(self) -> None:
        """Make all that is noted look young, for whoever cleans up by age."""
        for path in (self._folder, *self._folder.rglob("*")):
            with suppress(OSError):
                os.utime(path)
        self._kept = self.stamp()

    def note(self, worker: int, use_case: str, digests: Collection[str]) -> None:
        """Say which bundles of a use case a worker has on trial, before they are loaded."""
        name = _trial(worker, use_case)
        if not digests:
            self._remove(name)
        elif self._read(name) != sorted(digests):
            self._write(name, sorted(digests))

    def accuse(self, worker: int, reason: str) -> list[str]:
        """Turn off what a worker that crashed had on trial, of every use case.

        Returns:
            The digests. They are off for this object even if no worker can be told yet: `keep`
            tries again.
        """
        found: set[str] = set()
        for path in sorted(self._folder.glob(_trial(worker, "*"))):
            with suppress(StoreError):
                found.update(self._read(path.name) or ())
                # It has to be noted again before it is loaded again; where there is no room to
                # tell that it is off, there is none for that either.
                self._remove(path.name)
        if found:
            self._off.update(dict.fromkeys(found, reason))
            self._kept = 0
            with suppress(StoreError):
                self.keep()
        return sorted(found)

    def reasons(self) -> Mapping[str, str]:
        """Why a bundle is off, by its digest."""
        self._off.update(self._read(_SUSPECTS) or {})
        return self._off

    def note_good(self, use_case: str, role: Mapping[str, Any] | None) -> None:
        """Say what serves as champion, so that a worker that starts anew need not do without."""
        name = _good(use_case)
        if role is None:
            self._remove(name)
        elif self._read(name) != role:
            self._write(name, role)

    def last_good(self, use_case: str) -> Mapping[str, Any] | None:
        """What served as champion last, in any worker; None if nothing did or should."""
        found: dict[str, Any] | None = self._read(_good(use_case))
        return found

    def note_ready(self, worker: int, ready: bool) -> None:
        """Say whether a worker takes clients, and has a champion for each of them."""
        name = _ready(worker)
        if not ready:
            self._remove(name)
        elif not (self._folder / name).exists():
            self._write(name, None)

    def others_ready(self, worker: int) -> bool:
        """Whether another worker takes clients, and has a champion for each of them."""
        return any(path.name != _ready(worker) for path in self._folder.glob(_ready("*")))

    def stamp(self) -> int:
        """Another one for any other content of what the supervisor has noted."""
        try:
            return (self._folder / _SUSPECTS).stat().st_mtime_ns
        except OSError:
            return 0

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self._folder / name).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise StoreError(f"{self._folder / name}: cannot be read: {error}") from None

    def _write(self, name: str, value: object) -> None:
        temporary = self._folder / f"{name}.{os.getpid()}.tmp"
        try:
            temporary.write_text(json.dumps(value), encoding="utf-8")
            temporary.replace(self._folder / name)
        except OSError as error:
            with suppress(OSError):
                temporary.unlink()
            raise StoreError(f"{self._folder / name}: cannot be noted: {error.strerror}") from None

    def _remove(self, name: str) -> None:
        try:
            (self._folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise StoreError(f"{self._folder / name}: cannot go: {error.strerror}") from None


def _trial(worker: int, use_case: str) -> str:
    return f"trial-{worker}-{use_case}.json"


def _good(use_case: str) -> str:
    return f"good-{use_case}.json"


def _ready(worker: int | str) -> str:
    return f"ready-{worker}.json"
