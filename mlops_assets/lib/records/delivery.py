"""How well versions are delivered: the four measures of DORA, from the ledger.

Deployment frequency, lead time for changes, change failure rate and time to restore are those of
Forsgren, Humble and Kim, Accelerate (2018), and of https://dora.dev. There a change is a commit;
here it is a batch that landed, for new data are what a new version is made of.

A deployment is a version that was approved and became champion. A rollout that was taken back
(``aborted``), or away from which a person rolled back, has failed. The way back itself is no
deployment: it restores.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from statistics import median

from mlops_assets.lib.records.batches import Receipt
from mlops_assets.lib.records.history import Entry

DAYS = 28.0


@dataclass(frozen=True)
class Delivery:
    """The four measures over a window.

    Attributes:
        days: Of the window.
        deployments: Versions that became champion.
        rollouts: Those that became champion and those that were taken back before.
        failed: Of the rollouts.
        lead_seconds: Median from the landing of a batch to the first champion that was made of it;
            None where no deployment has brought a new batch.
        restore_seconds: Median from the beginning of a failed rollout to what served again; None
            where nothing was restored.
    """

    days: float
    deployments: int
    rollouts: int
    failed: int
    lead_seconds: float | None
    restore_seconds: float | None

    @property
    def per_week(self) -> float:
        """Deployments a week."""
        return self.deployments / self.days * 7

    @property
    def failure_share(self) -> float | None:
        """Share of the rollouts that failed; None where there was none."""
        return self.failed / self.rollouts if self.rollouts else None


@dataclass
class _Rollout:
    """What became of one approval."""

    bundle: str
    batches: list[str]
    began: datetime
    promoted: datetime | None = None
    aborted: datetime | None = None
    rolled_back: datetime | None = None
    restored: datetime | None = None
    leads: list[float] = field(default_factory=list)

    @property
    def ended(self) -> datetime | None:
        return self.promoted or self.aborted

    @property
    def failed(self) -> bool:
        return self.aborted is not None or self.rolled_back is not None


def landing_times(receipts: Iterable[Receipt]) -> dict[str, datetime]:
    """When each batch landed, by its key."""
    return {each.key: datetime.fromisoformat(each.landed_at) for each in receipts}


def delivery(
    entries: Iterable[Entry], landed: Mapping[str, datetime], now: datetime, days: float = DAYS
) -> Delivery:
    """Judge the deliveries of a window.

    Args:
        entries: Of a ledger that was verified, first to last.
        landed: When each batch landed, by key; one that is not there has no lead time.
        now: The end of the window, with a time zone.
        days: Its length. A rollout belongs to it if it ended in it, a restoration likewise.

    Raises:
        ValueError: If the window has no length.
    """
    if not days > 0:
        raise ValueError(f"{days:g} days are no window: give more than 0")
    start = now - timedelta(days=days)

    def within(moment: datetime | None) -> bool:
        return moment is not None and start < moment <= now

    rollouts = _rollouts(entries, landed)
    ended = [each for each in rollouts if within(each.ended)]
    leads = [lead for each in rollouts if within(each.promoted) for lead in each.leads]
    restored = [
        (each.restored - each.began).total_seconds()
        for each in rollouts
        if each.restored is not None and within(each.restored)
    ]
    return Delivery(
        days=days,
        deployments=sum(within(each.promoted) for each in rollouts),
        rollouts=len(ended),
        failed=sum(each.failed for each in ended),
        lead_seconds=median(leads) if leads else None,
        restore_seconds=median(restored) if restored else None,
    )


def _rollouts(entries: Iterable[Entry], landed: Mapping[str, datetime]) -> list[_Rollout]:
    approved: dict[int, Entry] = {}
    found: dict[int, _Rollout] = {}
    delivered: set[str] = set()
    for entry in entries:
        time, decision = datetime.fromisoformat(entry["time"]), entry["decision"]
        if decision == "approved":
            approved[entry["sequence"]] = entry
        elif decision == "rolled_back":
            # From what served, or was about to; a version that came back was no rollout of its own.
            left = entry["from"]["bundle"]
            for rollout in reversed(found.values()):
                if rollout.bundle == left and rollout.rolled_back is None:
                    rollout.rolled_back, rollout.restored = time, None
                if rollout.bundle == left:
                    break
        elif decision in ("rolling_out", "promoted", "aborted"):
            if decision == "promoted":
                for rollout in found.values():
                    if rollout.rolled_back is not None and rollout.restored is None:
                        rollout.restored = time
            number = entry["decision_of"]
            if number not in approved:
                continue
            batches = approved[number].get("batches", [])
            mine = found.setdefault(number, _Rollout(entry["bundle"], batches, time))
            if decision == "aborted" and mine.aborted is None:
                mine.aborted = mine.restored = time
            if decision == "promoted" and mine.promoted is None:
                mine.promoted = time
                new = [key for key in dict.fromkeys(batches) if key not in delivered]
                mine.leads = [
                    max((time - landed[key]).total_seconds(), 0.0) for key in new if key in landed
                ]
                delivered |= set(new)
    return list(found.values())
