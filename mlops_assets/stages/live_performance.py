"""``live_performance``: how good the answers of a day were, as far as labels tell, and estimated.

A day is judged when it is over, and again when answers or labels of it have come since.
"""

from collections.abc import Iterator
from datetime import date, datetime
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.performance import answers, records, told
from mlops_assets.lib.performance.floors import METRIC, floor
from mlops_assets.lib.performance.judge import judged, rests_on
from mlops_assets.lib.performance.table import tables
from mlops_assets.lib.records.prediction_log import days, over, state
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import live_drift, live_labels
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "live_performance"
CHECK = "floors"


def checks(spec: UseCase) -> Checks:
    """What is asked of a day; the subject is the digest of its answers and their labels."""
    levels = spec.alerts.accuracy
    question = (
        f"The champion's accuracy is not surely below {levels.warning:g}; an error below "
        f"{levels.critical:g}."
    )
    return Checks(asset_key(spec, STAGE), (Check(CHECK, question, gate=False),))


def outstanding(store: Storage, spec: UseCase, now: datetime) -> list[tuple[str, str]]:
    """The days that are over and were not judged, or not with all that is known by now.

    Returns:
        Day and digest of its answers and labels, the newest first.
    """
    served = over(store, spec.name, "served", spec.drift.since, now)
    inputs = told.inputs(served, told.every(store, spec.name)) if served else {}
    found = []
    for day, digest in inputs.items():
        record = records.read(store, spec.name, day)
        if record is None or record["input"] != digest:
            found.append((day, digest))
    return found[::-1]


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``live_performance`` with its check."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, live_labels.STAGE)],
        partitions_def=live_drift.partitions(spec),
        check_specs=asked.specs(),
        description="Metrics of a day of the prediction log by version and role: measured where "
        "labels have come, and estimated from the scores.",
        **common(spec, STAGE, "duckdb", "parquet"),
    )
    def live_performance(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, day = storage.open(), context.partition_key
        # Before anything is read: what comes meanwhile is noticed.
        served = state(store, spec.name, "served").get(day, digest_of([]))
        digest = told.inputs({day: served}, told.every(store, spec.name))[day]
        record = {
            "day": day,
            "at": f"{day}T00:00:00+00:00",
            "input": digest,
            **_judged(store, spec, day),
        }
        records.write(store, spec.name, record)
        found = floor(record["versions"], spec.alerts.accuracy)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest_of(record)),
            metadata={**_numbers(record), "versions": dg.MetadataValue.md(tables(record))},
        )
        yield asked.result(
            context,
            CHECK,
            found.passed,
            digest,
            "; ".join([found.said, *record["said"]]),
            severity=dg.AssetCheckSeverity.ERROR if found.critical else None,
        )

    return dg.Definitions(assets=[live_performance])


def _judged(store: Storage, spec: UseCase, day: str) -> dict[str, Any]:
    """What the record says of a day's answers, and the ids of them beside it."""
    import numpy as np

    from serving.prediction_log.streams import class_text

    key = days(store, spec.name, "served").get(date.fromisoformat(day))
    if key is None:
        return {
            "rows": 0,
            "labelled": 0,
            "label_lag_seconds": None,
            "versions": [],
            "said": ["nothing was answered on that day"],
        }
    labels = [store.local(folder) for folder in told.files(store, spec.name, day)]
    versions, lags = [], [np.empty(0)]
    with answers.day(store.local(key), labels) as read:
        ids = f"{records.folder(spec.name, day)}/{records.ANSWERED}"
        with store.writing(ids) as partial:
            read.keep_ids(partial)
        negative = class_text(spec.contract.target.negative)
        for each in read.answers(negative, spec.gate.slices):
            version = judged(each, spec)
            if version["estimated"]:
                version["said"].append(rests_on(store, spec.name, each.bundle))
            versions.append(version)
            if each.role != "shadow":
                lags.append(each.lag[~np.isnan(each.lag)])
    given = [version for version in versions if version["role"] != "shadow"]
    lag = np.concatenate(lags)
    return {
        "rows": sum(version["rows"] for version in given),
        "labelled": sum(version["labelled"] for version in given),
        "label_lag_seconds": float(np.median(lag)) if len(lag) else None,
        "versions": sorted(versions, key=lambda version: -version["rows"]),
        "said": read.said,
    }


def _numbers(record: dict[str, Any]) -> dict[str, float | int]:
    """What Dagster draws over the days: counts, and the champion's accuracy both ways."""
    found: dict[str, float | int] = {"rows": record["rows"], "labelled": record["labelled"]}
    if record["label_lag_seconds"] is not None:
        found["label lag in hours"] = record["label_lag_seconds"] / 3600
    champions = [version for version in record["versions"] if version["role"] == "champion"]
    for how in ("measured", "estimated"):
        for version in champions[:1]:
            if version[how] and METRIC in version[how]:
                found[f"{METRIC} {how}"] = version[how][METRIC]["value"]
    return found
