"""Holds a ledger against its anchor: the entry that was noted in MLflow when it was written.

The chain alone shows an edit, a removal and a reordering. A ledger that was cut off at its end, or
rewritten from some entry on, chains as well; it lacks the entry that stands outside of it.
"""

from mlops_assets import home
from mlops_assets.lib.records.history import Entry
from mlops_assets.lib.records.ledger import LedgerError
from mlops_assets.resources import MlflowTracking


def hold_against_anchor(use_case: str, entries: list[Entry]) -> str:
    """Look for the anchored entry in a ledger that was verified.

    Args:
        use_case: Whose.
        entries: Of the ledger.

    Returns:
        What was found, in a few words.

    Raises:
        LedgerError: If the entry is gone or is another one.
    """
    mlflow = MlflowTracking(
        tracking_uri=home.mlflow_uri(), ui=home.url("mlflow"), dagster_ui=home.url("dagster")
    )
    anchored = mlflow.anchored(use_case)
    if anchored is None:
        return "nothing is anchored in MLflow yet"
    number, digest = anchored
    if len(entries) < number:
        raise LedgerError(
            f"{use_case} ledger: it has {len(entries)} entries, and entry {number} was anchored in "
            "MLflow: it was cut off"
        )
    if entries[number - 1]["hash"] != digest:
        raise LedgerError(
            f"{use_case} ledger, entry {number}: is not the one that was anchored in MLflow "
            f"({digest[:12]}): it was rewritten, from there or from before"
        )
    return f"entry {number} is the one anchored in MLflow"
