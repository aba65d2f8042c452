"""``live_labels``: what was told on a day, and of which days' answers it is.

``live_performance`` follows it: the days that it names are judged again. A day of labels counts
once it is over, so that labels which trickle in restate a day of answers once a day, and not every
hour.
"""

from collections.abc import Iterator
from datetime import datetime

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.performance import told
from mlops_assets.lib.records.prediction_log import over, said_of, state
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import live_drift, rollout, sources
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "live_labels"


def checks(spec: UseCase) -> Checks:
    """What is asked of a day of labels; the subject is the digest of its files."""
    question = "Every label that was told is about an answer of the log, and says one thing."
    return Checks(asset_key(spec, STAGE), (Check("understood", question, gate=False),))


def outstanding(store: Storage, spec: UseCase, now: datetime) -> list[tuple[str, str]]:
    """The days of labels that are over and were not looked up, or not with all of their files.

    Returns:
        Day and digest of its files, the newest first.
    """
    found = []
    for day, digest in over(store, spec.name, "feedback", spec.drift.since, now).items():
        record = told.read(store, spec.name, day)
        if record is None or record["input"] != digest:
            found.append((day, digest))
    return found[::-1]


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``live_labels`` with its check."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[
            asset_key(spec, rollout.STAGE),
            *(asset_key(spec, sources.STAGE, labels.name) for labels in spec.labels),
        ],
        partitions_def=live_drift.partitions(spec),
        check_specs=asked.specs(),
        description="Looks up which days' answers the labels are about that were told on a day.",
        **common(spec, STAGE, "duckdb", "parquet"),
    )
    def live_labels(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, day = storage.open(), context.partition_key
        # Before anything is read: a file that comes meanwhile is noticed.
        digest = state(store, spec.name, "feedback").get(day)
        if digest is None:
            nothing = digest_of([])
            yield dg.MaterializeResult(data_version=dg.DataVersion(nothing), metadata={"labels": 0})
            yield asked.result(context, "understood", True, nothing, "nothing was told on that day")
            return
        record = told.look_up(store, spec.name, day, digest)
        told.write(store, spec.name, record)
        counts = {name: record[name] for name in ("labels", "repeated", "contradictory", "unknown")}
        said = [
            f"{record['labels']} answers were told of",
            f"{record['unknown']} of them are not in the prediction log",
            f"{record['repeated']} were told of more than once",
            f"{record['contradictory']} with different labels, of which the last one counts",
            *said_of(record["unread"]),
        ]
        wrong = record["unknown"] or record["contradictory"] or record["unread"]
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest_of(record)),
            metadata={
                **counts,
                "days of the answers": dg.MetadataValue.json(
                    {name: found["labels"] for name, found in record["days"].items()}
                ),
            },
        )
        yield asked.result(context, "understood", not wrong, digest, "; ".join(said), counts)

    return dg.Definitions(assets=[live_labels])
