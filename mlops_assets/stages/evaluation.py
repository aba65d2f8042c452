"""``evaluation``: the contest by out-of-fold score, and one look at the winner's test rows."""

import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.evaluation import calibration, report
from mlops_assets.lib.evaluation.contest import (
    CONTEST_METRIC,
    baseline,
    broken_floors,
    calibration_curve,
    confusion,
    cost_curve,
    winner,
)
from mlops_assets.lib.evaluation.intervals import Interval, with_intervals
from mlops_assets.lib.evaluation.slices import Slice, allowed_gaps, slices
from mlops_assets.lib.records import current
from mlops_assets.lib.spec.gate import Gate
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.synthetic.origin import best_auc
from mlops_assets.resources import MlflowTracking, StorageRoot
from mlops_assets.stages import candidates, training_set
from mlops_assets.stages.checks import Check, Checks, asset_key, common
from mlops_assets.stages.scored_rows import draw, score_rows

STAGE = "evaluation"


def checks(spec: UseCase) -> Checks:
    """What is asked of the winner; the subject is the evaluation's digest."""
    gate = spec.gate
    floors = ", ".join(f"{name} {floor:g}" for name, floor in gate.floors.items())
    least, most = gate.calibration_slope
    return Checks(
        asset_key(spec, STAGE),
        (
            Check(
                "floors",
                "Out of fold, the lower end of the winner's interval reaches each floor, and on "
                f"the test rows the upper end does: {floors}.",
            ),
            Check(
                "calibration",
                f"The expected calibration error is at most {gate.calibration_error:g}, and the "
                f"interval of the calibration slope meets {least:g} to {most:g}.",
            ),
            Check(
                "slices",
                f"No slice of {gate.slice_minimum_rows} rows or more is worse than the rest, by "
                f"more than chance and by more than {gate.slice_gap:g} of ROC AUC, "
                f"{gate.slice_recall_gap:g} of true-positive rate or "
                f"{gate.slice_false_alarm_gap:g} of false-positive rate.",
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

        scored = score_rows(store, spec, source, entries, best)
        target, out_of_fold = scored.target, scored.out_of_fold[best]
        test = with_intervals(scored.test_target, scored.test, threshold, seed=seed)
        rows_of_slice = spec.gate.slice_minimum_rows
        looked = slices(scored.groups, target, out_of_fold, threshold, rows_of_slice)
        slope = calibration.slope(target, out_of_fold)
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
            "calibration_slope": slope and slope.as_dict(),
            "confusion": confusion(scored.test_target, scored.test, threshold),
            "slices": [each.as_dict() for each in looked],
        }
        record["digest"] = digest = digest_of(record)

        error = standings[best]["calibration_error"]
        tables = {
            "contest": report.contest_table(standings, best),
            "test rows": report.score_table(test),
            "calibration": report.calibration_table(error, slope, spec.gate),
            "slices": report.slice_table(looked, spec.gate),
        }
        reachable = best_auc(store, spec.name, (batch["key"] for batch in source["batches"]))
        if reachable is not None:
            tables = {"reachable": report.reachable(reachable, standings[best], test), **tables}
        pictures = draw(spec, standings, best, scored, record, slope, costs)
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
            if slope is not None:
                tracked.log_metrics({"oof_calibration_slope": slope.value})
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
        reached = ", ".join(f"{name} {standings[best][name]}" for name in spec.gate.floors)
        said = "; ".join(broken) or f"{best} reaches them: {reached}"
        figures = _floor_figures(spec.gate, standings[best], test)
        yield asked.result(context, "floors", not broken, digest, said, figures)
        yield asked.result(context, "calibration", *_calibrated(spec.gate, error, slope, digest))
        yield asked.result(context, "slices", *_sliced(spec.gate, looked, digest))

    return dg.Definitions(assets=[evaluation])


Answer = tuple[bool, str, str, dict[str, Any]]


def _floor_figures(gate: Gate, out_of_fold: report.Scores, test: report.Scores) -> dict[str, float]:
    figures = {}
    for name, floor in gate.floors.items():
        figures[f"{name}, lower end out of fold"] = out_of_fold[name].low
        figures[f"{name}, upper end on the test rows"] = test[name].high
        figures[f"{name}, floor"] = float(floor)
    return figures


def _calibrated(gate: Gate, error: Interval, slope: Interval | None, digest: str) -> Answer:
    """What is said of the calibration, as ``Checks.result`` takes it."""
    low, high = gate.calibration_slope
    wrong = calibration.outside(slope, gate.calibration_slope)
    shown = "of equal scores cannot be told" if slope is None else str(slope)
    said = (
        f"expected calibration error {error.value:.3f}, limit {gate.calibration_error:g}; "
        f"calibration slope {shown}, "
        f"{'outside of' if wrong else 'limits'} {low:g} to {high:g}"
    )
    figures = {
        "expected calibration error": error.value,
        "largest calibration error": float(gate.calibration_error),
        "least slope": float(low),
        "largest slope": float(high),
    }
    if slope is not None:
        figures |= {
            "calibration slope": slope.value,
            "calibration slope, lower end": slope.low,
            "calibration slope, upper end": slope.high,
        }
    return error.value <= gate.calibration_error and not wrong, digest, said, figures


def _sliced(gate: Gate, looked: list[Slice], digest: str) -> Answer:
    """What is said of the slices, as ``Checks.result`` takes it."""
    judged = [each for each in looked if each.judged]
    allowed = allowed_gaps(gate)
    behind = [
        f"{each.column} = {each.value}: {name} {report.gap_text(each.gaps[name])} against the "
        f"rest, may be {report.worst(name)} {allowed[name]:g}"
        for each in judged
        for name in each.falls_behind(gate)
    ]
    said = "; ".join(behind) or f"{len(judged)} slices judged, none is worse than the rest"
    if len(judged) < len(looked):
        said += f"; {len(looked) - len(judged)} have too few rows to be judged"
    figures: dict[str, Any] = {
        "slices judged": float(len(judged)),
        "slices looked at": float(len(looked)),
    }
    for name, limit in allowed.items():
        gaps = [each.gaps[name].difference.value for each in judged if name in each.gaps]
        if gaps:
            far = max(gaps) if name == "false_positive_rate" else -min(gaps)
            figures |= {f"{name}, worst gap": max(far, 0.0), f"{name}, allowed gap": float(limit)}
    figures["table"] = dg.MetadataValue.md(report.slice_table(looked, gate))
    return not behind, digest, said, figures


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
