"""``evaluation``: the contest by out-of-fold score, and one look at the winner's test rows."""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mlops_assets.lib import current
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.evaluation import (
    CONTEST_METRIC,
    broken_floors,
    calibration_curve,
    confusion,
    slices,
    winner,
)
from mlops_assets.lib.onnx_model import predict
from mlops_assets.lib.spec import UseCase
from mlops_assets.lib.statistics import Interval, with_intervals
from mlops_assets.lib.storage import Storage
from mlops_assets.lib.training_set import INPUTS, ROWS
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import candidates, training_set
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "evaluation"


def checks(spec: UseCase) -> Checks:
    """What is asked of the winner; the subject is the evaluation's digest."""
    gate = spec.gate
    floors = ", ".join(f"{name} {floor:g}" for name, floor in gate.floors.items())
    return Checks(
        asset_key(spec, STAGE),
        (
            Check("floors", f"The winner reaches its floors: {floors}."),
            Check(
                "calibration",
                f"The expected calibration error is at most {gate.calibration_error:g}.",
            ),
            Check(
                "slices",
                f"No slice of {gate.slice_minimum_rows} rows or more has a ROC AUC whose interval "
                f"lies more than {gate.slice_gap:g} below the whole.",
            ),
        ),
    )


def contestants(store: Storage, spec: UseCase, digest: str) -> dict[str, dict[str, Any]]:
    """The candidates that were trained on a training set, by algorithm."""
    found = {
        algorithm: current.read(store, spec.name, candidates.stage(algorithm))
        for algorithm in spec.training.candidates
    }
    return {a: r for a, r in found.items() if r is not None and r["training_set"] == digest}


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``evaluation`` with its checks."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[
            asset_key(spec, training_set.STAGE),
            *(asset_key(spec, candidates.STAGE, name) for name in spec.training.candidates),
        ],
        check_specs=asked.specs(),
        description="Compares the candidates out of fold, then looks once at the test rows, "
        "through the ONNX model of the winner.",
        **common(spec, STAGE, "onnx"),
    )
    def evaluation(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        import numpy as np
        import pandas as pd

        store, seed, threshold = storage.open(), spec.training.seed, spec.decision.threshold
        source = current.read(store, spec.name, training_set.STAGE)
        if source is None:
            raise dg.Failure(f"there is no training set: materialise {spec.name}/training_set")
        entries = contestants(store, spec, source["digest"])
        if not entries:
            raise dg.Failure("no candidate was trained on the current training set")
        best = winner(
            {
                name: {metric: score["value"] for metric, score in entry["out_of_fold"].items()}
                for name, entry in entries.items()
            }
        )
        chosen = entries[best]
        context.log.info(f"{best} wins among {', '.join(sorted(entries))}")

        folder = training_set.files(store, spec, source)
        rows = pd.read_parquet(folder / ROWS)
        inputs = pd.read_parquet(folder / INPUTS)
        files = candidates.files(store, spec, chosen)
        predictions = pd.read_parquet(files / candidates.PREDICTIONS)
        target = rows["target"].to_numpy(np.float64)
        seen = (rows["side"] == "train").to_numpy()
        out_of_fold = predictions["out_of_fold"].to_numpy()[seen]
        unseen = predict(
            files / candidates.MODEL, rows.loc[~seen, source["features"]].to_numpy(np.float32)
        )
        test = with_intervals(target[~seen], unseen, threshold, seed=seed)
        by_value = {
            name: inputs.loc[seen, name].astype(object).where(inputs.loc[seen, name].notna(), None)
            for name in spec.gate.slices
        }
        looked = slices(
            {name: list(values) for name, values in by_value.items()},
            target[seen],
            out_of_fold,
            threshold,
            seed,
        )
        record: dict[str, Any] = {
            "training_set": source["digest"],
            "winner": best,
            "candidates": {name: entry["digest"] for name, entry in entries.items()},
            "threshold": threshold,
            "out_of_fold": chosen["out_of_fold"],
            "test": {name: score.as_dict() for name, score in test.items()},
            "calibration": calibration_curve(target[seen], out_of_fold),
            "confusion": confusion(target[~seen], unseen, threshold),
            "slices": [
                {
                    "column": s.column,
                    "value": s.value,
                    "rows": s.rows,
                    "positives": s.positives,
                    "roc_auc": s.roc_auc and s.roc_auc.as_dict(),
                }
                for s in looked
            ],
        }
        record["digest"] = digest = digest_of(record)
        store.write_json(f"{spec.name}/evaluations/{digest}.json", record)
        current.write(store, spec.name, STAGE, record)

        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "winner": best,
                "contest": dg.MetadataValue.md(contest_table(entries, best)),
                "test rows": dg.MetadataValue.md(candidates.score_table(test)),
                "confusion": dg.MetadataValue.json(record["confusion"]),
                "calibration": dg.MetadataValue.json(record["calibration"]),
                "slices": dg.MetadataValue.json(record["slices"]),
                "threshold": threshold,
                "training set": source["digest"],
                "digest": digest,
            },
        )
        broken = broken_floors(spec.gate.floors, record["out_of_fold"], record["test"])
        reached = ", ".join(
            f"{name} {record['out_of_fold'][name]['value']:.3f}" for name in spec.gate.floors
        )
        said = "; ".join(broken) or f"{best} reaches them: {reached}"
        yield asked.result(context, "floors", not broken, digest, said)
        error = record["out_of_fold"]["calibration_error"]["value"]
        limit = spec.gate.calibration_error
        said = f"expected calibration error {error:.3f}, limit {limit:g}"
        yield asked.result(context, "calibration", error <= limit, digest, said)
        overall = record["out_of_fold"][CONTEST_METRIC]["value"]
        behind = [s for s in looked if s.falls_behind(overall, spec.gate)]
        said = (
            "; ".join(f"{s.column} {s.value}: {s.roc_auc} against {overall:.3f}" for s in behind)
            or f"{len(looked)} slices looked at, none falls behind {overall:.3f}"
        )
        yield asked.result(context, "slices", not behind, digest, said)

    return dg.Definitions(assets=[evaluation])


def contest_table(entries: dict[str, dict[str, Any]], best: str) -> str:
    """The candidates side by side, as Markdown: a line a metric."""
    names = sorted(entries, key=lambda name: (name != best, name))
    titles = [f"**{name}** (wins)" if name == best else name for name in names]
    lines = [f"| out of fold | {' | '.join(titles)} |", "| --- |" + " --- |" * len(names)]
    for metric in entries[best]["out_of_fold"]:
        scores = [str(Interval(**entries[name]["out_of_fold"][metric])) for name in names]
        lines.append(f"| {metric} | {' | '.join(scores)} |")
    return "\n".join(lines)
