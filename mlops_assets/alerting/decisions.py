"""What the ledger has decided lately, and whether its chain holds."""

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from mlops_assets.alerting.alert import Alert, Level, Seen
from mlops_assets.lib.records.history import Entry
from mlops_assets.lib.records.ledger import LedgerError

# Older decisions are no news: for so long the book remembers that one was told.
NEWS = timedelta(days=1)
DECISIONS, BROKEN = "decision/", "ledger/broken"


def decisions(use_case: str, entries: Iterable[Entry], now: datetime, page: str) -> Seen:
    """The decisions of the last day that somebody should know of.

    Args:
        use_case: Whose.
        entries: Of its ledger, verified.
        now: With a time zone.
        page: Address of the asset ``promotion`` in Dagster's UI.
    """
    alerts = []
    for entry in entries:
        said = _SAID.get(entry["decision"])
        if said is None or now - datetime.fromisoformat(entry["time"]) > NEWS:
            continue
        # Who decided by hand knows.
        if entry.get("decided_by") == "person" and entry["decision"] != "promoted":
            continue
        level, about, do = said(entry)
        reasons = "; ".join(entry.get("reasons") or [])
        what = f"Version {entry['version']}, entry {entry['sequence']} of the ledger"
        alerts.append(
            Alert(
                use_case,
                f"{DECISIONS}{entry['sequence']}",
                level,
                f"{use_case}: version {entry['version']} {about}",
                f"{what}: {reasons}." if reasons else f"{what}.",
                do,
                page,
                once=True,
            )
        )
    return Seen(alerts, frozenset({DECISIONS, BROKEN}))


def broken(use_case: str, error: LedgerError, page: str) -> Seen:
    """A ledger that says no more what was decided: nothing is promoted or rolled out from it."""
    alert = Alert(
        use_case,
        BROKEN,
        "critical",
        f"{use_case}: the ledger is broken",
        f"{error}.",
        "Put the ledger's files back from the backup, until `mlops ledger verify "
        f"{use_case}` holds: before that nothing is promoted or rolled out.",
        page,
    )
    return Seen([alert], frozenset({BROKEN}))


_Said = tuple[Level, str, str]


def _approved(entry: Entry) -> _Said:
    return "info", "is approved: a retrain has finished", "Nothing: it is rolled out by itself."


def _rejected(entry: Entry) -> _Said:
    do = "Read in the asset `promotion` what stood in its way; the champion stays."
    return "warning", "was rejected by the gate", do


def _pending(entry: Entry) -> _Said:
    name, version = entry["use_case"], entry["version"]
    do = f"Decide: `mlops approve {name} {version} --reason WHY`, or `mlops reject` likewise."
    return "warning", "waits for a person: a retrain has finished", do


def _expired(entry: Entry) -> _Said:
    do = "Nothing, or train anew: nobody approved it in time."
    return "warning", "was approved by nobody in time", do


def _aborted(entry: Entry) -> _Said:
    do = "Read in the asset `rollout` what the app answered; what served before serves again."
    return "warning", "was taken back: its rollout was aborted", do


def _promoted(entry: Entry) -> _Said:
    do = f"Nothing; `mlops rollback {entry['use_case']}` puts the one before back."
    return "info", "serves: it is the new champion", do


def _rolled_back(entry: Entry) -> _Said:
    return "info", "is put back by a rollback", "Nothing."


_SAID: dict[str, Callable[[Entry], _Said]] = {
    "approved": _approved,
    "rejected": _rejected,
    "pending": _pending,
    "expired": _expired,
    "aborted": _aborted,
    "promoted": _promoted,
    "rolled_back": _rolled_back,
}
