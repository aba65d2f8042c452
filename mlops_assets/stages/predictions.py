"""``predictions``: scores of a batch by the present champion, with the numbers of the API."""

import time
from collections.abc import Iterator

import dagster as dg

from mlops_assets.lib.bundles.scoring import missing_columns, score
from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.records.history import champion
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import rollout, validated
from mlops_assets.stages.checks import Check, Checks, asset_key, column_schema, common

STAGE = "predictions"


def checks(spec: UseCase) -> Checks:
    """What is asked of the scores; the subject is their digest."""
    question = "There is one score for each valid row of the batch."
    return Checks(asset_key(spec, STAGE), (Check("row_count", question, blocking=True),))


def folder(use_case: str, key: str, rows: str, bundle: str) -> str:
    """Where the scores of a batch's rows by a bundle lie (all but the key are digests)."""
    return f"{use_case}/predictions/{key}-{short(digest_of([rows, bundle]))}"


def build(spec: UseCase, batches: dg.PartitionsDefinition[str]) -> dg.Definitions:
    """The asset ``predictions`` with its check."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, validated.STAGE), asset_key(spec, rollout.STAGE)],
        partitions_def=batches,
        check_specs=asked.specs(),
        description="A probability and a class for each valid row of a batch, by the bundle of the "
        "present champion. Whoever is killed goes on with the parts that are missing.",
        **common(spec, STAGE, "duckdb", "onnx", "parquet"),
    )
    def predictions(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        from serving.bundle.loaded import Bundle

        store, known, key = storage.open(), storage.batches(spec.name), context.partition_key
        crowned = champion(storage.ledger(spec.name).verify())
        if crowned is None:
            raise dg.Failure(
                f"{spec.name} has no champion to score with: a version must be approved and "
                f"rolled out first (materialise {spec.name}/rollout)"
            )
        rows, valid = validated.valid_rows(spec, known, key)
        bundle = Bundle.load(store.local(crowned["path"]), crowned["bundle"], spec.name)
        if missing := missing_columns(bundle, valid):
            raise dg.Failure(
                f"version {crowned['version']} reads {', '.join(missing)}, which batch {key} does "
                "not have: the contract has changed since; a version of the present one must serve"
            )
        target = folder(spec.name, key, rows["digest"], bundle.digest)
        started = time.perf_counter()
        scores = score(bundle, crowned["version"], valid, store, target)
        seconds = time.perf_counter() - started
        known.point(
            key,
            STAGE,
            {
                "input": rows["digest"],
                "version": crowned["version"],
                "bundle": bundle.digest,
                "digest": scores.digest,
                "folder": target,
                "parts": scores.parts,
                "rows": scores.rows,
                "positives": scores.positives,
            },
        )
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(scores.digest),
            metadata={
                "dagster/row_count": scores.rows,
                "dagster/column_schema": column_schema(
                    [
                        ("row_id", "VARCHAR", "Batch and row."),
                        ("probability", "DOUBLE", "Of the positive class."),
                        ("label", "", "The class at the version's threshold."),
                        ("version", "VARCHAR", "Of the registered model."),
                        ("bundle", "VARCHAR", "Its digest."),
                    ]
                ),
                "dagster/uri": store.uri(target),
                "version": crowned["version"],
                "bundle": bundle.digest,
                "positive share": scores.positives / max(scores.rows, 1),
                "parts": len(scores.parts),
                "parts of an earlier run": scores.found,
                "seconds": seconds,
                "digest": scores.digest,
            },
        )
        said = f"{scores.rows} scores for {rows['rows']} valid rows"
        same = scores.rows == rows["rows"]
        yield asked.result(context, "row_count", same, scores.digest, said)

    return dg.Definitions(assets=[predictions])
