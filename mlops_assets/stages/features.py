"""``features``: one dbt build a batch, tested before it is published.

dbt's own Dagster decorator is not used: it imports dbt's graph engine wherever the definitions are
loaded, and it has no step between the tests and the publication.
"""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of, file_digest, short
from mlops_assets.lib.features.dbt_project import (
    INPUT_RELATION,
    INPUT_VARIABLE,
    OUTPUT_VARIABLE,
    SCRATCH_VARIABLE,
    FeatureModel,
    FeatureModelError,
)
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.resources import Dbt, StorageRoot
from mlops_assets.stages import validated
from mlops_assets.stages.checks import Check, Checks, asset_key, column_schema, common

STAGE = "features"


def checks(spec: UseCase, model: FeatureModel) -> Checks:
    """The dbt tests of the features model; the subject is the digest of the staged features."""
    return Checks(
        asset_key(spec, STAGE),
        tuple(
            Check(test.name, test.description, gate=test.blocking, blocking=test.blocking)
            for test in model.tests
        ),
    )


def input_digest(model: FeatureModel, validated_digest: str) -> str:
    """What this stage works from: the valid rows and the SQL."""
    return digest_of([validated_digest, model.code_version])


def build(
    spec: UseCase, batches: dg.PartitionsDefinition[str], model: FeatureModel
) -> dg.Definitions:
    """The asset ``features`` with the dbt tests as its checks."""
    asked = checks(spec, model)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, validated.STAGE)],
        partitions_def=batches,
        check_specs=asked.specs(),
        output_required=False,
        code_version=short(model.code_version),
        description=model.description,
        **common(spec, STAGE, "dbt", "duckdb", "parquet"),
    )
    def features(
        context: dg.AssetExecutionContext, storage: StorageRoot, dbt: Dbt
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, known, key = storage.open(), storage.batches(spec.name), context.partition_key
        rows, valid = validated.valid_rows(spec, known, key)
        source = input_digest(model, rows["digest"])
        file = f"{spec.name}/features/{key}-{short(source)}.parquet"
        with tempfile.TemporaryDirectory() as scratch:
            staged = Path(scratch) / "features.parquet"
            results = run_dbt(dbt, model, valid, staged, Path(scratch))
            digest = file_digest(staged)
            answers = {
                test.name: next(r for r in results if r["unique_id"] == test.unique_id)
                for test in model.tests
            }
            refused = [
                test.name
                for test in model.tests
                if test.blocking and answers[test.name]["status"] != "pass"
            ]
            if not refused:
                store.publish(staged, file)
            compiled = next(r["compiled_code"] for r in results if _is_model(r))
        known.point(
            key,
            STAGE,
            {
                "input": source,
                "digest": digest,
                "file": None if refused else file,
                "sql": compiled,
                "location": INPUT_RELATION,
                "code_version": model.code_version,
            },
        )
        if not refused:
            columns = [(name, "FLOAT", text) for name, text in model.columns.items()]
            columns[0] = (columns[0][0], "VARCHAR", columns[0][2])
            yield dg.MaterializeResult(
                data_version=dg.DataVersion(digest),
                metadata={
                    "dagster/row_count": rows["rows"],
                    "dagster/column_schema": column_schema(columns),
                    "dagster/uri": store.uri(file),
                    "sql": dg.MetadataValue.md(f"```sql\n{compiled.strip()}\n```"),
                    "digest": digest,
                },
            )
        for name, answer in answers.items():
            failures = answer["failures"] or 0
            said = answer["message"] or f"{failures} failing rows"
            yield asked.result(context, name, answer["status"] == "pass", digest, said)

    return dg.Definitions(assets=[features])


def _is_model(result: dict[str, Any]) -> bool:
    return str(result["unique_id"]).startswith("model.")


def run_dbt(
    dbt: Dbt, model: FeatureModel, source: Path, staged: Path, scratch: Path
) -> list[dict[str, Any]]:
    """Run the model and its tests once.

    The paths go through the environment: a ``--vars`` that changes throws away dbt's partial parse.

    Raises:
        FeatureModelError: With dbt's words when the model itself fails.
    """
    paths = {
        INPUT_VARIABLE: str(source),
        OUTPUT_VARIABLE: str(staged),
        SCRATCH_VARIABLE: str(scratch / "spill"),
    }
    results = dbt.build(model.name, scratch / "target", paths)
    broken = [r for r in results if r["status"] == "error"]
    if broken or not staged.is_file():
        words = "\n".join(f"{r['unique_id']}: {r['message']}" for r in broken)
        raise FeatureModelError(f"dbt could not build {model.name}:\n{words}")
    return results
