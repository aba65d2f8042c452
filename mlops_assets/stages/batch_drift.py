"""``batch_drift``: whether a batch still looks like what the champion was trained on.

It ends an ingest and never stops one. The champion's scores are those of a sample of the batch, so
that a batch of millions costs seconds.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import dagster as dg

from mlops_assets.lib.drift import records
from mlops_assets.lib.drift.reference import GoneError, trained
from mlops_assets.lib.drift.scores import write_scores
from mlops_assets.lib.drift.sides import parquet
from mlops_assets.lib.drift.version import Current, judged
from mlops_assets.lib.records.history import champion
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import features, validated
from mlops_assets.stages.checks import Checks, asset_key, common
from mlops_assets.stages.drifting import Found, Judged, check, drawn, results, unless_it_breaks
from serving.bundle.manifest import BundleError

STAGE = "batch_drift"
UNDRAWN = "not drawn: nothing drifted (`report: true` in the config of the run draws it anyway)"


class BatchDriftConfig(dg.Config):
    """What a person may ask of one run.

    Attributes:
        report: Draw Evidently's report although nothing drifted. It takes some seconds.
    """

    report: bool = False


def checks(spec: UseCase) -> Checks:
    """What is asked of a batch; the subject is the digest of its valid rows."""
    return Checks(asset_key(spec, STAGE), (check("The rows of the batch"),))


def build(spec: UseCase, batches: dg.PartitionsDefinition[str]) -> dg.Definitions:
    """The asset ``batch_drift`` with its check."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, features.STAGE), asset_key(spec, validated.STAGE)],
        partitions_def=batches,
        check_specs=asked.specs(),
        description="Drift of a batch, its inputs and the champion's scores of it, against the "
        "rows that the champion was trained on. It warns, and stops nothing.",
        **common(spec, STAGE, "duckdb", "parquet"),
    )
    def batch_drift(
        context: dg.AssetExecutionContext, config: BatchDriftConfig, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, known, key = storage.open(), storage.batches(spec.name), context.partition_key
        rows, valid = validated.valid_rows(spec, known, key)
        receipt = known.receipt(key)
        assert receipt is not None
        folder = records.folder(spec.name, "batches", key)

        def look(scratch: Path) -> Found:
            from serving.bundle.features import FeatureError

            crowned = champion(storage.ledger(spec.name).verify())
            if crowned is None:
                return Found(rows["rows"], said=["not judged: there is no champion yet"])
            version, bundle = crowned["version"], crowned["bundle"]
            try:
                reference = trained(store, spec.name, bundle)
            except GoneError as error:
                return Found(rows["rows"], said=[f"not judged: {error}"])
            said = []
            try:
                write_scores(store.local(crowned["path"]), bundle, spec.name, valid, scratch)
                scores: str | None = parquet(scratch / "scores.parquet")
            except (BundleError, FeatureError, FileNotFoundError) as error:
                scores = None
                said.append(f"the scores are not compared: {error}")
            current = Current(parquet(valid), scores)
            window = judged(reference, current, spec.drift)
            found = Found(rows["rows"], [Judged(version, bundle, window, reference, current)], said)
            if not found.drifted and not config.report:
                return found
            pictures = drawn(context, spec, store, found, folder)
            return Found(found.rows, found.versions, said, pictures)

        with tempfile.TemporaryDirectory() as scratch:
            found = unless_it_breaks(context, lambda: look(Path(scratch)))
        record = {
            "window": key,
            "at": receipt.landed_at,
            "input": rows["digest"],
            **found.record(),
        }
        records.write(store, spec.name, "batches", record)
        yield from results(context, asked, store, found, rows["digest"], UNDRAWN)

    return dg.Definitions(assets=[batch_drift])
