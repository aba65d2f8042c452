"""What is kept of each judged window: a record for other parts, and a report for people.

Windows are batches and days of the prediction log. A record is replaced as a whole when its window
is judged again.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from mlops_assets.lib.storage.root import DamagedError, Storage

Windows = Literal["batches", "days"]
VERDICT, REPORT = "verdict.json", "report.html"


def folder(use_case: str, windows: Windows, key: str) -> str:
    """Where the files of a window lie.

    Args:
        use_case: Its name.
        windows: What kind of window.
        key: Of the batch, or the day as YYYY-MM-DD.
    """
    return f"{use_case}/drift/{windows}/{key}"


def write(store: Storage, use_case: str, windows: Windows, record: Mapping[str, Any]) -> None:
    """Keep the record of a window, which names itself as ``window``."""
    store.write_json(f"{folder(use_case, windows, record['window'])}/{VERDICT}", record)


def read(store: Storage, use_case: str, windows: Windows, key: str) -> dict[str, Any] | None:
    """The record of a window, or None where it has not been judged, or cannot be read.

    It holds ``window``, ``at`` (ISO 8601: when the batch landed, or the beginning of the day),
    ``input`` (digest of what was judged), ``rows``, ``judged`` and ``drifted`` (for any version),
    ``score`` (0 to 1, the largest of any version, or null), ``effect`` (the largest, as a multiple
    of the least that matters), ``reason`` and ``versions``: of each its ``version``, ``bundle`` and
    all that ``lib.drift.window.Window.record`` says.
    """
    try:
        return store.read_json(f"{folder(use_case, windows, key)}/{VERDICT}")
    except DamagedError:
        return None  # it is judged anew


def latest(
    store: Storage, use_case: str, windows: Windows, most: int | None = None
) -> list[dict[str, Any]]:
    """The records of the newest windows, the oldest of them first."""
    keys = store.list(f"{use_case}/drift/{windows}")
    found = [record for key in keys if (record := read(store, use_case, windows, key))]
    found.sort(key=lambda record: (record["at"], record["window"]))
    return found if most is None else found[-most:]
