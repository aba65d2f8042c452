"""Drift and live performance, from the records that the stages leave in the storage."""

import json
import time
from collections.abc import Iterator
from datetime import datetime
from functools import lru_cache
from typing import Any, Final

from mlops_assets.exporter import metrics
from mlops_assets.exporter.landed import MOST, Landed
from mlops_assets.exporter.metrics import Sample
from mlops_assets.lib.drift import records as drift
from mlops_assets.lib.performance import records as performance
from mlops_assets.lib.performance.floors import KINDS, METRIC
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from serving.storage.bucket import Object

#: Labels may come late: so many days are looked through for one that has them.
DAYS: Final = 90

Record = dict[str, Any]


class Live:
    """One use case as its traffic and its batches show it."""

    def __init__(self, store: Storage, landed: Landed, spec: UseCase) -> None:
        self._store = store
        self._landed = landed
        self._spec = spec
        self._name = spec.name

    def drift(self) -> Iterator[Sample]:
        """The newest judged window of each kind."""
        batches = (
            record
            for receipt in self._landed.receipts()[:MOST]
            if (record := drift.read(self._store, self._name, "batches", receipt.key))
        )
        days = self._newest(f"{self._name}/drift/days", drift.VERDICT)
        for windows, found in (("batches", batches), ("days", days)):
            judged = next((record for record in found if record["judged"]), None)
            if judged is None:
                continue
            labels = (self._name, windows)
            yield Sample(metrics.DRIFTED, labels, float(judged["drifted"]))
            yield Sample(metrics.DRIFT_EFFECT, labels, judged["effect"])
            yield Sample(metrics.DRIFT_AGE, labels, _age(judged))
            if judged["score"] is not None:
                yield Sample(metrics.DRIFT_SCORE, labels, judged["score"])

    def performance(self) -> Iterator[Sample]:
        """What was measured and estimated, each of the newest day that has it."""
        days = list(self._newest(f"{self._name}/{performance.STAGE}", performance.RECORD))
        for version in days[0]["versions"] if days else ():
            yield Sample(metrics.LIVE_ROWS, self._of(version), version["rows"])
        lags = (day["label_lag_seconds"] for day in days)
        lag = next((lag for lag in lags if lag is not None), None)
        if lag is not None:
            yield Sample(metrics.LABEL_LAG, (self._name,), lag)
        for kind in KINDS:
            day = next((day for day in days if any(v[kind] for v in day["versions"])), None)
            if day is not None:
                yield Sample(metrics.LIVE_AGE, (self._name, kind), _age(day))
                yield from self._metrics(kind, [v for v in day["versions"] if v[kind]])
        both = next((day for day in days if any(v["error"] for v in day["versions"])), None)
        for version in both["versions"] if both else ():
            for metric, error in (version["error"] or {}).items():
                yield Sample(metrics.LIVE_ERROR, (*self._of(version), metric), error)

    def levels(self) -> Iterator[Sample]:
        """Where the spec says that somebody is to be told."""
        for about, levels in self._spec.alerts.levels.items():
            for severity, level in levels:
                yield Sample(metrics.ALERT_LEVEL, (self._name, about, severity), level)

    def _metrics(self, kind: str, versions: list[Record]) -> Iterator[Sample]:
        for version in versions:
            for metric, found in version[kind].items():
                labels = (*self._of(version), metric, kind)
                yield Sample(metrics.LIVE_METRIC, labels, found["value"])
        first: dict[str, Record] = {}
        for version in sorted(versions, key=lambda each: -each["rows"]):
            first.setdefault(version["role"], version)
        for role, version in first.items():
            if (score := version[kind].get(METRIC)) is not None:
                whose = (self._name, role, kind)
                yield Sample(metrics.LIVE_ACCURACY, whose, score["value"])
                yield Sample(metrics.LIVE_ACCURACY_HIGH, whose, score["high"])

    def _of(self, version: Record) -> tuple[str, str, str]:
        return self._name, version["version"], version["role"]

    def _newest(self, folder: str, file: str) -> Iterator[Record]:
        """The records of the newest days, newest first; a day is the name of a folder."""
        found = {each.key: each for each in self._store.files(folder)}
        days = [key for key in sorted(found, reverse=True) if key.endswith(f"/{file}")]
        for key in days[:DAYS]:
            yield _read(self._store.root, found[key])


@lru_cache(maxsize=4096)
def _read(root: str, file: Object) -> Record:
    """A record, read once for each state of its file."""
    with Storage(root).open(file.key) as content:
        record: Record = json.load(content)
    return record


def _age(record: Record) -> float:
    return max(time.time() - datetime.fromisoformat(record["at"]).timestamp(), 0.0)
