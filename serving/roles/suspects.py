"""What workers of one server tell each other: who is on trial, and what serves.

A challenger or a shadow can take a whole process down: its model runs as native code. No exception
tells of that, so each worker notes what it has on trial before it is loaded, and the supervisor,
who sees the crash, turns those off for every worker. A new process of the server starts afresh.
"""

import json
import os
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

_SUSPECTS: Final = "suspects.json"


class Suspects:
    """Notes in a folder that a supervisor shares with its workers."""

    def __init__(self, folder: Path) -> None:
        """Use a folder, which must exist."""
        self._folder = folder

    def note(self, worker: int, digests: Collection[str]) -> None:
        """Say which bundles a worker has on trial, before they are loaded."""
        self._write(_trial(worker), sorted(digests))

    def accuse(self, worker: int, reason: str) -> list[str]:
        """Turn off what a worker that crashed had on trial.

        Returns:
            The digests.
        """
        digests: list[str] = self._read(_trial(worker)) or []
        if digests:
            self._write(_SUSPECTS, {**self.reasons(), **dict.fromkeys(digests, reason)})
        return digests

    def reasons(self) -> Mapping[str, str]:
        """Why a bundle is off, by its digest."""
        found: dict[str, str] = self._read(_SUSPECTS) or {}
        return found

    def note_good(self, use_case: str, role: Mapping[str, Any] | None) -> None:
        """Say what serves as champion, so that a worker that starts anew need not do without."""
        name = _good(use_case)
        if role is None:
            (self._folder / name).unlink(missing_ok=True)
        elif self._read(name) != role:
            self._write(name, role)

    def last_good(self, use_case: str) -> Mapping[str, Any] | None:
        """What served as champion last, in any worker; None if nothing did or should."""
        found: dict[str, Any] | None = self._read(_good(use_case))
        return found

    def stamp(self) -> int:
        """Another one for any other content."""
        try:
            return (self._folder / _SUSPECTS).stat().st_mtime_ns
        except FileNotFoundError:
            return 0

    def _read(self, name: str) -> Any:
        try:
            return json.loads((self._folder / name).read_bytes())
        except FileNotFoundError:
            return None

    def _write(self, name: str, value: object) -> None:
        temporary = self._folder / f"{name}.{os.getpid()}.tmp"
        temporary.write_text(json.dumps(value), encoding="utf-8")
        temporary.replace(self._folder / name)


def _trial(worker: int) -> str:
    return f"trial-{worker}.json"


def _good(use_case: str) -> str:
    return f"good-{use_case}.json"
