"""``evaluation``: the contest by out-of-fold score, and one look at the winner's test rows."""

import re
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.evaluation import plots, report
from mlops_assets.lib.evaluation.contest import (
    CONTEST_METRIC,
    CostCurve,
    baseline,
    broken_floors,
    calibration_curve,
    confusion,
    cost_curve,
    slices,
    winner,
)
from mlops_assets.lib.evaluation.intervals import Interval, with_intervals
from mlops_assets.lib.records import current
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.synthetic.origin import best_auc
from mlops_assets.lib.training.onnx_model import predictor
from mlops_assets.lib.training_set.files import INPUTS
from mlops_assets.lib.training_set.rows import read_rows
from mlops_assets.resources import MlflowTracking, StorageRoot
from mlops_assets.stages import candidates, training_set
from mlops_assets.stages.checks import Check, Checks, asset_key, common

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

BACKGROUND_ROWS = 32
EXPLAINED_ROWS = 150
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
        **common(spec, STAGE, "onnx", "mlflow"),
    )
    def evaluation(
        context: dg.AssetExecutionContext, storage: StorageRoot, mlflow: MlflowTracking
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
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
        context.log.info(f"{best} wins among {', '.join(sorted(entries))}")

        scored = _score(store, spec, source, entries, best)
        target, out_of_fold = scored.target, scored.out_of_fold[best]
        test = with_intervals(scored.test_target, scored.test, threshold, seed=seed)
        looked = slices(scored.by_value, target, out_of_fold, threshold, seed)
        costs = cost_curve(target, out_of_fold, spec.decision)
        standings = _standings(entries, best, baseline(target, threshold, seed))
        record: dict[str, Any] = {
            "training_set": source["digest"],
            "winner": best,
            "candidates": {name: entry["digest"] for name, entry in entries.items()},
            "threshold": threshold,
            "cost": {"of_a_row": costs.cost, "least": costs.least, "least_at": costs.least_at},
            "out_of_fold": entries[best]["out_of_fold"],
            "test": {name: score.as_dict() for name, score in test.items()},
            "calibration": calibration_curve(target, out_of_fold),
            "confusion": confusion(scored.test_target, scored.test, threshold),
            "slices": [each.as_dict() for each in looked],
        }
        record["digest"] = digest = digest_of(record)

        overall = record["out_of_fold"][CONTEST_METRIC]["value"]
        tables = {
            "contest": report.contest_table(standings, best),
            "test rows": report.score_table(test),
            "slices": report.slice_table(looked, overall, spec.gate),
        }
        reachable = best_auc(store, spec.name, (batch["key"] for batch in source["batches"]))
        if reachable is not None:
            tables = {"reachable": report.reachable(reachable, standings[best], test), **tables}
        pictures = _draw(spec, standings, best, scored, record, costs)
        tags = {"training_set": source["digest"], "winner": best, "evaluation": digest}
        with (
            mlflow.run(context, spec.name, tags) as tracked,
            tempfile.TemporaryDirectory() as scratch,
        ):
            local = Path(scratch)
            for name, picture in pictures.items():
                (local / f"{_file(name)}.png").write_bytes(picture)
            for name, table in tables.items():
                (local / f"{_file(name)}.md").write_text(table, encoding="utf-8")
            tracked.log_artifacts(str(local))
            tracked.log_params({"winner": best, "threshold": threshold})
            tracked.log_metrics({f"test_{name}": score.value for name, score in test.items()})
            tracked.log_metrics({f"oof_{n}": s["value"] for n, s in record["out_of_fold"].items()})
            if reachable is not None:
                tracked.log_metrics({"best_reachable_roc_auc": reachable})
            run = tracked.active_run()
            store.publish(local, f"{spec.name}/evaluations/{digest}")
        store.write_json(f"{spec.name}/evaluations/{digest}.json", record)
        current.write(store, spec.name, STAGE, record)

        url = mlflow.run_url(run.info.experiment_id, run.info.run_id)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "report": dg.MetadataValue.md(report.page(tables, pictures)),
                "winner": best,
                **({} if reachable is None else {"best reachable ROC AUC": reachable}),
                **{name: dg.MetadataValue.md(table) for name, table in tables.items()},
                "pictures": dg.MetadataValue.path(store.uri(f"{spec.name}/evaluations/{digest}")),
                "threshold": threshold,
                "cost of a row": dg.MetadataValue.json(record["cost"]),
                "MLflow run": dg.MetadataValue.url(url),
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
        behind = [s for s in looked if s.falls_behind(overall, spec.gate)]
        said = (
            "; ".join(f"{s.column} {s.value}: {s.roc_auc} against {overall:.3f}" for s in behind)
            or f"{len(looked)} slices looked at, none falls behind {overall:.3f}"
        )
        yield asked.result(context, "slices", not behind, digest, said)

    return dg.Definitions(assets=[evaluation])


@dataclass(frozen=True)
class _Scored:
    """The rows of the contest with their scores.

    Attributes:
        names: Of the features.
        target: Of the training rows that a fold scored.
        features: Of the same rows, float32.
        out_of_fold: Of the same rows, by candidate.
        by_value: Values of the slice columns of the same rows, by column.
        test_target: Of the test rows.
        test: Of the test rows, by the winner's ONNX model.
        model: The winner's.
    """

    names: list[str]
    target: "Floats"
    features: "NDArray[np.float32]"
    out_of_fold: "dict[str, Floats]"
    by_value: dict[str, list[Any]]
    test_target: "Floats"
    test: "Floats"
    model: "Callable[[NDArray[np.float32]], Floats]"


def _score(
    store: Storage,
    spec: UseCase,
    source: dict[str, Any],
    entries: dict[str, dict[str, Any]],
    best: str,
) -> _Scored:
    import numpy as np
    import pandas as pd

    folder = training_set.files(store, spec, source)
    rows = read_rows(folder, source["features"], spec.split)
    side = np.flatnonzero(rows.place < rows.train)
    out_of_fold = {}
    for name, entry in entries.items():
        path = candidates.files(store, spec, entry) / candidates.PREDICTIONS
        out_of_fold[name] = pd.read_parquet(path, columns=["out_of_fold"])[
            "out_of_fold"
        ].to_numpy()[side]
    # In time the oldest rows are scored by no fold, the same ones for every candidate.
    scored = ~np.isnan(out_of_fold[best])
    features, target = rows.features[: rows.train], rows.target[: rows.train]
    model = predictor(candidates.files(store, spec, entries[best]) / candidates.MODEL)
    inputs = pd.read_parquet(folder / INPUTS, columns=spec.gate.slices or ["row_id"])
    values = {name: inputs[name].iloc[side[scored]].astype(object) for name in spec.gate.slices}
    return _Scored(
        source["features"],
        target[scored],
        features[scored],
        {name: scores[scored] for name, scores in out_of_fold.items()},
        {name: list(column.where(column.notna(), None)) for name, column in values.items()},
        rows.target[rows.train :],
        model(rows.features[rows.train :]),
        model,
    )


def _draw(
    spec: UseCase,
    standings: dict[str, report.Scores],
    best: str,
    scored: _Scored,
    record: dict[str, Any],
    costs: CostCurve,
) -> dict[str, bytes]:
    """Every picture of the evaluation, by name."""
    from serving.bundle.contributions import contributions

    target = spec.contract.target
    # The rows lie in the order of a hash: the first are as good a sample as any.
    usual, explained = scored.features[-BACKGROUND_ROWS:], scored.features[:EXPLAINED_ROWS]
    values = contributions(scored.model, explained, usual, spec.training.seed)
    return {
        "candidates": plots.contest(standings, best),
        "ROC and precision-recall": plots.curves(scored.target, scored.out_of_fold, best),
        "calibration": plots.calibration(record["calibration"]),
        "confusion": plots.confusion(
            record["confusion"], (target.negative_label, target.positive_label)
        ),
        "cost": plots.cost(costs),
        "contributions": plots.contributions(values, explained, scored.names),
    }


def _file(name: str) -> str:
    return re.sub(r"[^a-z]+", "_", name.lower())


def _standings(
    entries: dict[str, dict[str, Any]], best: str, dummy: report.Scores
) -> dict[str, report.Scores]:
    """The candidates' scores, the winner's first, the others by ROC AUC, the dummy's last."""
    scores: dict[str, report.Scores] = {
        name: {metric: Interval(**entry["out_of_fold"][metric]) for metric in dummy}
        for name, entry in entries.items()
    }
    order = sorted(scores, key=lambda n: (n != best, -scores[n][CONTEST_METRIC].value, n))
    return {**{name: scores[name] for name in order}, "dummy": dummy}
