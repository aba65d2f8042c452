"""The ledger and what it comes to: the champion, who waits, how well versions are delivered."""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any, get_args

from mlops_assets.exporter import metrics
from mlops_assets.exporter.landed import Landed
from mlops_assets.exporter.metrics import Sample
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.delivery import delivery, landing_times
from mlops_assets.lib.records.history import Entry, awaiting_approval, champion
from mlops_assets.lib.records.ledger import Kind, Ledger, LedgerError
from mlops_assets.lib.storage.root import Storage

#: A forger may leave size and time of a file as they were.
VERIFY_SECONDS = 600.0


class Decisions:
    """The ledger of one use case."""

    def __init__(
        self,
        store: Storage,
        landed: Landed,
        environment: str,
        alias: Callable[[str], str | None],
    ) -> None:
        """Nothing is read yet.

        Args:
            store: The storage root.
            landed: The batches of the use case.
            environment: Whose desired state is shown.
            alias: Gives the version that MLflow calls champion, by the name of the model.
        """
        self._store = store
        self._landed = landed
        self._name = landed.use_case
        self._environment = environment
        self._alias = alias
        self._ledger = Ledger(store, self._name)
        self._entries: list[Entry] = []
        self._stamp: object = None
        self._verified = float("-inf")

    def entries(self) -> list[Entry]:
        """The entries of a chain that holds, read anew when a file has changed or has not for long.

        Raises:
            LedgerError: If it does not hold.
        """
        stamp = list(self._store.files(self._ledger.prefix))
        if stamp != self._stamp or time.monotonic() > self._verified + VERIFY_SECONDS:
            self._stamp = None  # a broken one is looked at again
            self._entries = self._ledger.verify()
            self._stamp, self._verified = stamp, time.monotonic()
        return self._entries

    def ledger(self) -> Iterator[Sample]:
        """Whether it holds, how far it goes, and what serves by it."""
        labels = (self._name,)
        try:
            entries = self.entries()
        except LedgerError:
            yield Sample(metrics.LEDGER_VERIFIED, labels, 0.0)
            raise
        yield Sample(metrics.LEDGER_VERIFIED, labels, 1.0)
        yield Sample(metrics.LEDGER_SEQUENCE, labels, len(entries))
        if entries:
            yield Sample(metrics.LEDGER_AGE, labels, _age(entries[-1]))
        counted = Counter(entry["decision"] for entry in entries)
        for decision in dict.fromkeys([*get_args(Kind), *counted]):
            yield Sample(metrics.DECISIONS, (self._name, decision), counted[decision])
        yield Sample(metrics.AWAITING, labels, len(awaiting_approval(entries)))
        crowned = champion(entries)
        if crowned is not None:
            yield from self._champion(crowned)

    def desired(self) -> Iterator[Sample]:
        """What the desired state says, whatever the ledger does."""
        roles = desired_state.read(self._store, self._name, self._environment)
        for role, wanted in roles.items():
            labels = (self._name, role, str(wanted["version"]))
            yield Sample(metrics.DESIRED, labels, wanted["percent"] / 100)

    def delivery(self) -> Iterator[Sample]:
        """The four measures of delivery."""
        landed = landing_times(self._landed.receipts())
        found, labels = delivery(self.entries(), landed, datetime.now(UTC)), (self._name,)
        yield Sample(metrics.DEPLOYMENTS, labels, found.deployments)
        for measure, value in (
            (metrics.LEAD, found.lead_seconds),
            (metrics.FAILURES, found.failure_share),
            (metrics.RESTORE, found.restore_seconds),
        ):
            if value is not None:
                yield Sample(measure, labels, value)

    def mlflow(self) -> Iterator[Sample]:
        """Whether MLflow shows people the champion that there is."""
        crowned = champion(self.entries())
        if crowned is not None:
            agrees = self._alias(self._name) == crowned["version"]
            yield Sample(metrics.ALIAS_AGREES, (self._name,), float(agrees))

    def _champion(self, crowned: Entry) -> Iterator[Sample]:
        version = crowned["version"]
        yield Sample(metrics.CHAMPION_AGE, (self._name,), _age(crowned))
        manifest = self._store.read_json(f"{crowned['path']}/manifest.json")
        lineage: dict[str, Any] = (manifest or {}).get("lineage", {})
        algorithm = lineage.get("algorithm", "")
        yield Sample(metrics.CHAMPION, (self._name, version, algorithm), 1.0)
        key = f"{self._name}/evaluations/{lineage.get('evaluation')}.json"
        evaluation = self._store.read_json(key) or {}
        for rows in ("out_of_fold", "test"):
            for metric, found in evaluation.get(rows, {}).items():
                labels = (self._name, version, metric, rows)
                yield Sample(metrics.CHAMPION_METRIC, labels, found["value"])


def _age(entry: Entry) -> float:
    return max(time.time() - datetime.fromisoformat(entry["time"]).timestamp(), 0.0)
