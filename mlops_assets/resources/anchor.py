"""The anchor of a ledger: its newest entry, noted in MLflow, out of reach of the storage.

The chain alone shows an edit, a removal and a reordering. A ledger that was cut off at its end, or
rewritten from some entry on, chains as well; it lacks the entry that stands outside of it. Nothing
is added to such a ledger, or the next decision would anchor the forgery.
"""

import os
from typing import Any

from mlops_assets.home import environment
from mlops_assets.lib.records.ledger import Ledger, LedgerError, head
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.mlflow import MlflowTracking, tracking

# On the registered model: number and hash of an entry.
TAG = "ledger_head"
VARIABLE = "MLOPS_LEDGER_ANCHOR"


class MlflowAnchor:
    """The newest entry of one ledger, as a tag of the registered model."""

    def __init__(self, use_case: str, mlflow: MlflowTracking) -> None:
        self.use_case = use_case
        self.mlflow = mlflow

    def hold(self, entries: list[dict[str, Any]]) -> str:
        """Look for the anchored entry in a ledger that was verified.

        Args:
            entries: Of the ledger.

        Returns:
            What was found, in a few words.

        Raises:
            LedgerError: If the entry is gone or is another one.
        """
        anchored = self._read()
        if anchored is None:
            return "nothing is anchored in MLflow yet"
        number, digest = anchored
        said = f"{self.use_case} ledger, entry {number}"
        if len(entries) < number:
            raise LedgerError(
                f"{said}: was anchored in MLflow, and there are {len(entries)} entries: the ledger "
                "was cut off"
            )
        if entries[number - 1]["hash"] != digest:
            raise LedgerError(
                f"{said}: is not the one that was anchored in MLflow ({digest[:12]}): the ledger "
                "was rewritten, from there or from before"
            )
        return f"entry {number} is the one anchored in MLflow"

    def note(self, entry: dict[str, Any]) -> None:
        """Note an entry, if it is newer than the one that stands there."""
        there = self._read()
        if there is not None and there[0] >= entry["sequence"]:
            return
        client = self.mlflow.client()
        if not client.search_registered_models(f"name = '{self.use_case}'"):
            client.create_registered_model(self.use_case)
        client.set_registered_model_tag(self.use_case, TAG, head(entry))

    def _read(self) -> tuple[int, str] | None:
        found = self.mlflow.client().search_registered_models(f"name = '{self.use_case}'")
        noted = found[0].tags.get(TAG) if found else None
        if noted is None:
            return None
        number, _, digest = noted.partition(":")
        return int(number), digest


def is_on() -> bool:
    """Whether ledgers are anchored: in production, or where the variable says so.

    Raises:
        ValueError: If the variable is neither ``on`` nor ``off``.
    """
    said = os.environ.get(VARIABLE) or ("on" if environment() == "production" else "off")
    if said not in ("on", "off"):
        raise ValueError(f"{VARIABLE}={said!r}: on or off")
    return said == "on"


def open_ledger(store: Storage, use_case: str) -> Ledger:
    """A ledger to write to, with its anchor where ledgers are anchored."""
    return Ledger(store, use_case, MlflowAnchor(use_case, tracking()) if is_on() else None)
