"""``training_set``: the frozen rows of the accepted batches, and only those."""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.digests import digest_of, file_digest
from mlops_assets.lib.features.dbt_project import FeatureModel
from mlops_assets.lib.features.feature_sql import portable
from mlops_assets.lib.records import current, sealed
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training.train import refused_in_time
from mlops_assets.lib.training_set.assemble import Summary, assemble
from mlops_assets.lib.training_set.files import GROUP, INPUTS, ROWS, TIME, Source
from mlops_assets.lib.training_set.giveaways import giveaways
from mlops_assets.lib.training_set.rows import training_side
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import features, leakage, validated
from mlops_assets.stages.checks import Check, Checks, asset_key, column_schema, common
from mlops_assets.stages.evidence import Batch, look_at_batches

STAGE = "training_set"
TIES = {
    GROUP: (GROUP, "BIGINT", "What is never on two sides of a fold: a hash."),
    TIME: (TIME, "TIMESTAMP", "By which folds go forward."),
}


def checks(spec: UseCase) -> Checks:
    """What is asked of the rows; the subject is the training set's digest."""
    plan = spec.training
    return Checks(
        asset_key(spec, STAGE),
        (
            Check("leakage", leakage.QUESTION, blocking=True),
            Check(
                "giveaway",
                "No feature alone tells the outcome with a ROC AUC, in either direction, above "
                f"{spec.gate.single_feature_auc:g}.",
                blocking=True,
            ),
            Check(
                "enough_rows",
                f"At least {plan.minimum_rows} rows to train on, {plan.minimum_positives} of each "
                "class, and both classes on the test side."
                + (" Every fold in time can be made." if spec.split.kind == "time" else ""),
                blocking=True,
            ),
        ),
    )


def wanted_digest(spec: UseCase, model: FeatureModel, accepted: Sequence[Batch]) -> str:
    """What a retrain works from: accepted batches, the SQL and the training part of the spec."""
    lineage = sorted(batch.pointers[features.STAGE]["digest"] for batch in accepted)
    return digest_of([lineage, model.code_version, spec.contract.digest, spec.training_digest])


def folder(use_case: str, digest: str) -> str:
    """Where the rows of a training set lie."""
    return f"{use_case}/training_sets/{digest}"


def build(
    spec: UseCase, batches: dg.PartitionsDefinition[str], model: FeatureModel
) -> dg.Definitions:
    """The asset ``training_set`` with its checks."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[
            dg.AssetDep(asset_key(spec, stage), partition_mapping=dg.AllPartitionMapping())
            for stage in (validated.STAGE, features.STAGE)
        ],
        check_specs=asked.specs(),
        description="Rows of every batch whose checks passed, with a side (train or test) that "
        "follows from a hash and never changes, or from the time of the event.",
        **common(spec, STAGE, "duckdb", "parquet"),
    )
    def training_set(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store = storage.open()
        looked = look_at_batches(context.instance, storage.batches(spec.name), spec, model)
        accepted = [batch for batch in looked if batch.state == "accepted"]
        for batch in looked:
            if batch.state == "refused":
                why = "; ".join(f"{f.asset} {f.check}: {f.said}" for f in batch.failed)
                context.log.warning(f"batch {batch.receipt.key} is left out: {why}")
            elif batch.state == "withdrawn":
                context.log.warning(f"batch {batch.receipt.key} is left out: it was withdrawn")
        if not accepted:
            raise dg.Failure(f"no batch of {spec.name} has passed its checks: land and ingest one")

        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch)
            last = accepted[-1].pointers[features.STAGE]
            names = [column.name for column in spec.contract.inputs]
            summary, record = make(
                [_source(store, batch) for batch in accepted],
                spec.contract,
                spec.split,
                local,
                {
                    "wanted": wanted_digest(spec, model, accepted),
                    "batches": [batch.lineage() for batch in accepted],
                    "features_sql": portable(last["sql"], last["location"], names),
                    "contract": {"version": spec.contract.version, "digest": spec.contract.digest},
                    "split": spec.split.model_dump(),
                },
            )
            digest = record["digest"]
            refused = _refused(spec, local, summary)
            alone = giveaways(local, summary.features)
            store.publish(local, folder(spec.name, digest))
            sealed.seal(store, spec.name, record)
        # For the model card; beside what the digest is of, which rows and their origin decide.
        current.write(store, spec.name, STAGE, {**record, "about": _about(summary, accepted)})

        positive_rate = summary.train_positives / max(summary.train, 1)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "dagster/row_count": summary.train + summary.test,
                "dagster/column_schema": column_schema(
                    [
                        ("row_id", "VARCHAR", "Batch and row."),
                        ("batch", "VARCHAR", "Partition key."),
                        ("side", "VARCHAR", "train or test."),
                        ("target", "TINYINT", "1 for the positive class."),
                        *(TIES[name] for name in summary.tied),
                        *(
                            (name, "FLOAT", model.columns.get(name, ""))
                            for name in summary.features
                        ),
                    ]
                ),
                "dagster/uri": store.uri(folder(spec.name, digest)),
                "train rows": summary.train,
                "test rows": summary.test,
                "positive rate": positive_rate,
                "repeated rows left out": summary.repeated,
                "rows replaced by a later one of the same key": summary.replaced,
                **_of_time(summary),
                "batches": dg.MetadataValue.md(
                    "\n".join(f"- `{batch.receipt.key}`" for batch in accepted)
                ),
                "batches left out": len(looked) - len(accepted),
                "digest": digest,
            },
        )
        leaking = leakage.leaks(spec, summary)
        said = "; ".join(leaking) or (
            f"{summary.straddling_entities} entities are on both sides; {summary.equal_inputs} "
            "test rows have the inputs of a training row"
        )
        figures = {
            "entities on both sides": float(summary.straddling_entities),
            "share of test rows with the inputs of a training row": summary.equal_inputs
            / max(summary.test, 1),
            "allowed share": leakage.equal_inputs_limit(spec),
            "rows of the future": float(summary.late),
        }
        yield asked.result(context, "leakage", not leaking, digest, said, figures)
        yield asked.result(context, "giveaway", *leakage.giveaway_answer(spec, alone, digest))
        plan = spec.training
        rarer = min(summary.train_positives, summary.train - summary.train_positives)
        tested = 0 < summary.test_positives < summary.test
        enough = summary.train >= plan.minimum_rows and rarer >= plan.minimum_positives and tested
        said = (
            f"{summary.train} rows to train on, {rarer} of the rarer class; {summary.test} to test "
            f"on, {summary.test_positives} of them positive"
        )
        if summary.of_test_entities and not enough:
            said += (
                f"; {summary.of_test_entities} rows were left out of training since their entity "
                "is on the test side, too (split.entity: shared keeps them)"
            )
        if summary.in_gap and not enough:
            said += (
                f"; {summary.in_gap} rows were left out of training since they are of the "
                f"{spec.split.gap_days:g} days (split.gap_days) before {summary.cutoff}"
            )
        if refused:
            said += f"; {refused}"
        figures = {
            "training rows": float(summary.train),
            "training rows needed": float(plan.minimum_rows),
            "of the rarer class": float(rarer),
            "of the rarer class needed": float(plan.minimum_positives),
            "test rows": float(summary.test),
        }
        yield asked.result(context, "enough_rows", enough and not refused, digest, said, figures)

    return dg.Definitions(assets=[training_set])


def make(
    sources: list[Source],
    contract: Contract,
    split: Split,
    local: Path,
    origin: Mapping[str, Any],
) -> tuple[Summary, dict[str, Any]]:
    """Write the rows of a training set, and say what they are made of.

    Args:
        sources: See ``assemble``.
        contract: Of the batches.
        split: Which rows are held out.
        local: An empty folder for the rows.
        origin: ``wanted``, ``batches`` (their digests), ``features_sql``, and ``contract`` and
            ``split`` as they are written down.

    Returns:
        The counts and the record, with its digest.
    """
    summary = assemble(sources, contract, split, local)
    record: dict[str, Any] = {
        **origin,
        "files": {name: file_digest(local / name) for name in (ROWS, INPUTS)},
        "features": summary.features,
        "split": {
            **origin["split"],
            "cutoff": summary.cutoff and summary.cutoff.isoformat(),
        },
        "rows": {"train": summary.train, "test": summary.test},
    }
    return summary, record | {"digest": digest_of(record)}


def _refused(spec: UseCase, folder: Path, summary: Summary) -> str | None:
    """Why the folds of a split by time cannot be made; None for every other split."""
    if spec.split.kind != "time" or not summary.train:
        return None
    target, ties = training_side(folder, summary.features, spec.split)
    return refused_in_time(target, spec.training, ties)


def _about(summary: Summary, accepted: Sequence[Batch]) -> dict[str, Any]:
    """What the model card says of the rows."""
    landed = sorted(batch.receipt.landed_at for batch in accepted)
    events = (summary.first_event, summary.last_event)
    return {
        "positives": {"train": summary.train_positives, "test": summary.test_positives},
        "landed": [landed[0], landed[-1]],
        "events": [moment.isoformat() for moment in events if moment is not None],
    }


def _of_time(summary: Summary) -> dict[str, Any]:
    """What a split by time adds to the metadata."""
    if summary.cutoff is None:
        return {}
    return {
        "first moment of the test side": summary.cutoff.isoformat(),
        "rows left out in the gap": summary.in_gap,
        "rows left out of entities on the test side": summary.of_test_entities,
    }


def _source(store: Storage, batch: Batch) -> Source:
    """The files of a batch, as long as they are what the checks judged."""
    made, rows = (batch.pointers[stage] for stage in (features.STAGE, validated.STAGE))
    return Source(
        batch.receipt.key,
        store.verified(made["file"], made["digest"]),
        store.verified(rows["file"], rows["digest"]),
        datetime.fromisoformat(batch.receipt.landed_at).astimezone(UTC).replace(tzinfo=None),
    )


def files(store: Storage, spec: UseCase, record: dict[str, Any]) -> Path:
    """The folder of a training set, as long as its files are what was recorded."""
    return store.verified_folder(folder(spec.name, record["digest"]), record["files"])
