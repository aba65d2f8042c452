"""What the records of drift and performance say about the champion, read as sparingly as may be.

A sensor asks every few seconds: days are listed, and only the newest are opened.
"""

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from itertools import islice
from typing import Any

from mlops_assets.lib.drift import records as drift
from mlops_assets.lib.performance import records as performance
from mlops_assets.lib.retraining.policy import Score
from mlops_assets.lib.spec.retrain import PerformanceTrigger
from mlops_assets.lib.storage.root import Storage

# Labels that come later than that are of no use for a decision.
MOST_DAYS = 100


def windows(
    store: Storage,
    use_case: str,
    bundle: str,
    unseen: Iterable[str],
    contest: datetime | None,
    most: int,
) -> tuple[bool, ...]:
    """Whether each of the newest windows has drifted from what a champion was trained on.

    A window counts if that champion was judged by it and the last contest did not know it.

    Args:
        store: The storage root.
        use_case: Its name.
        bundle: Digest of the champion's.
        unseen: Keys of the accepted batches that no contest has seen, the newest first.
        contest: When the last one was: its day and later ones count.
        most: How many windows.

    Returns:
        The newest first.
    """
    found: list[tuple[str, bool]] = []
    first = contest.date().isoformat() if contest is not None else ""
    days = _newest(store, f"{use_case}/drift/days", first)
    read = [
        (drift.read(store, use_case, "batches", key) for key in unseen),
        (drift.read(store, use_case, "days", day) for day in days),
    ]
    for kind in read:
        judged = (pair for record in kind if (pair := _judged(record, bundle)) is not None)
        found += islice(judged, most)
    return tuple(drifted for _, drifted in sorted(found, reverse=True)[:most])


def _judged(record: Mapping[str, Any] | None, bundle: str) -> tuple[str, bool] | None:
    """When a window was, and whether it has drifted as a bundle sees it."""
    if record is None:
        return None
    for version in record["versions"]:
        if version["bundle"] == bundle and version["judged"]:
            return record["at"], bool(version["drifted"])
    return None


def scores(
    store: Storage, use_case: str, bundle: str, plan: PerformanceTrigger
) -> tuple[Score, ...]:
    """The champion's scores of the newest day that has any of the wanted kind.

    Args:
        store: The storage root.
        use_case: Its name.
        bundle: Digest of the champion's.
        plan: Which kind.
    """
    kinds = ("measured", "estimated") if plan.which == "either" else (plan.which,)
    for day in _newest(store, f"{use_case}/{performance.STAGE}", ""):
        record = performance.read(store, use_case, day) or {}
        for version in record.get("versions", ()):
            if version["bundle"] != bundle or version["role"] != "champion":
                continue
            for kind in kinds:
                if version[kind]:
                    return tuple(_scores(day, kind, version[kind]))
    return ()


def _scores(day: str, kind: str, values: Mapping[str, Mapping[str, Any]]) -> Iterator[Score]:
    for metric, score in values.items():
        if score["value"] is not None:
            high = score["value"] if score.get("high") is None else score["high"]
            yield Score(metric, day, kind, score["value"], high)


def _newest(store: Storage, folder: str, first: str) -> list[str]:
    """The days right under a folder from a first one on, the newest first."""
    return [day for day in store.list(folder)[::-1] if day >= first][:MOST_DAYS]
