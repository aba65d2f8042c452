"""``candidates/<algorithm>``: one trained algorithm each, as ONNX, with an out-of-fold score."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib import current
from mlops_assets.lib.digests import digest_of, file_digest
from mlops_assets.lib.onnx_model import convert
from mlops_assets.lib.spec import Algorithm, UseCase
from mlops_assets.lib.statistics import Interval, with_intervals
from mlops_assets.lib.storage import Storage
from mlops_assets.lib.training import Trained, train
from mlops_assets.lib.training_set import ROWS
from mlops_assets.resources import MlflowTracking, StorageRoot
from mlops_assets.stages import training_set
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "candidates"
MODEL, PREDICTIONS = "model.onnx", "predictions.parquet"


def checks(spec: UseCase, algorithm: str) -> Checks:
    """What is asked of a candidate; the subject is the candidate's digest."""
    return Checks(
        asset_key(spec, STAGE, algorithm),
        (
            Check("trained", "Every training row has a finite out-of-fold probability."),
            Check("converged", "No fit that counts gave up before it converged."),
            Check("beats_dummy", "It ranks better than chance and beats the prior's log loss."),
        ),
    )


def stage(algorithm: str) -> str:
    """The name under which a candidate's record is current."""
    return f"{STAGE}/{algorithm}"


def folder(use_case: str, digest: str) -> str:
    """Where the files of a candidate lie."""
    return f"{use_case}/candidates/{digest}"


def build(spec: UseCase, algorithm: Algorithm) -> dg.Definitions:
    """The asset ``candidates/<algorithm>`` with its checks."""
    asked = checks(spec, algorithm)
    title = algorithm.replace("_", " ")

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, training_set.STAGE)],
        check_specs=asked.specs(),
        description=f"Nested cross-validation of {title}: searched by Optuna, calibrated, "
        "converted to ONNX and logged to MLflow.",
        **common(spec, STAGE, "scikitlearn", "mlflow", "onnx"),
    )
    def candidate(
        context: dg.AssetExecutionContext, storage: StorageRoot, mlflow: MlflowTracking
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        import numpy as np
        import pandas as pd

        store = storage.open()
        source = current.read(store, spec.name, training_set.STAGE)
        if source is None:
            raise dg.Failure(f"there is no training set: materialise {spec.name}/training_set")
        rows = pd.read_parquet(training_set.files(store, spec, source) / ROWS)
        features = rows[source["features"]].to_numpy(np.float32)
        target = rows["target"].to_numpy(np.float64)
        seen = (rows["side"] == "train").to_numpy()

        tags = {"training_set": source["digest"], "algorithm": algorithm}
        with (
            mlflow.run(context, spec.name, tags) as tracked,
            tempfile.TemporaryDirectory() as scratch,
        ):
            started = time.perf_counter()
            trained = train(
                algorithm,
                spec.training.candidates[algorithm],
                features[seen],
                target[seen],
                spec.training,
            )
            seconds = time.perf_counter() - started
            scores = with_intervals(
                target[seen], trained.out_of_fold, spec.decision.threshold, seed=spec.training.seed
            )
            local = Path(scratch)
            (local / MODEL).write_bytes(convert(trained.estimator, features.shape[1]))
            predictions = rows[["row_id", "side", "target"]].copy()
            predictions["probability"] = trained.estimator.predict_proba(features)[:, 1]
            predictions["out_of_fold"] = np.nan
            predictions.loc[seen, "out_of_fold"] = trained.out_of_fold
            predictions.to_parquet(local / PREDICTIONS, index=False)
            record: dict[str, Any] = {
                "algorithm": algorithm,
                "training_set": source["digest"],
                "parameters": trained.parameters,
                "fold_parameters": trained.fold_parameters,
                "out_of_fold": {name: score.as_dict() for name, score in scores.items()},
                "files": {name: file_digest(local / name) for name in (MODEL, PREDICTIONS)},
            }
            record["digest"] = digest = digest_of(record)
            run = tracked.active_run()
            record["mlflow"] = {"run": run.info.run_id, "experiment": run.info.experiment_id}
            _log(tracked, trained, scores, digest, local)
            store.publish(local, folder(spec.name, digest))
        current.write(store, spec.name, stage(algorithm), record)

        url = mlflow.run_url(run.info.experiment_id, run.info.run_id)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "out-of-fold scores": dg.MetadataValue.md(score_table(scores)),
                **{name: scores[name].value for name in ("roc_auc", "accuracy", "log_loss")},
                "parameters": dg.MetadataValue.json(trained.parameters),
                "trials": dg.MetadataValue.json(trained.trials),
                "seconds": seconds,
                "MLflow run": dg.MetadataValue.url(url),
                "training set": source["digest"],
                "digest": digest,
            },
        )
        finite = bool(np.isfinite(trained.out_of_fold).all())
        said = f"{int(np.isfinite(trained.out_of_fold).sum())} of {seen.sum()} rows have a score"
        yield asked.result(context, "trained", finite, digest, said)
        said = "; ".join(trained.complaints[:3]) or "every fit converged"
        yield asked.result(context, "converged", not trained.complaints, digest, said)
        prior = float(target[seen].mean())
        dummy = -(prior * np.log(prior) + (1 - prior) * np.log(1 - prior))
        auc, loss = scores["roc_auc"], scores["log_loss"]
        said = f"ROC AUC {auc} against 0.5; log loss {loss.value:.3f} against {dummy:.3f}"
        beats = auc.low > 0.5 and loss.value < dummy
        yield asked.result(context, "beats_dummy", bool(beats), digest, said)

    return dg.Definitions(assets=[candidate])


def files(store: Storage, spec: UseCase, record: dict[str, Any]) -> Path:
    """The folder of a candidate, as long as its files are what was recorded."""
    return store.verified_folder(folder(spec.name, record["digest"]), record["files"])


def score_table(scores: Mapping[str, Interval]) -> str:
    """Metrics with their intervals as a Markdown table."""
    lines = [
        f"| {name} | {s.value:.3f} | {s.low:.3f} to {s.high:.3f} |" for name, s in scores.items()
    ]
    return "\n".join(["| metric | value | 95 % interval |", "| --- | --- | --- |", *lines])


def _log(
    tracked: Any, trained: Trained, scores: Mapping[str, Interval], digest: str, files: Path
) -> None:
    """Write a candidate to its MLflow run."""
    tracked.log_params(trained.parameters)
    tracked.log_metrics(
        {
            f"oof_{name}{suffix}": value
            for name, score in scores.items()
            for suffix, value in (("", score.value), ("_low", score.low), ("_high", score.high))
        }
    )
    tracked.set_tag("candidate", digest)
    tracked.log_artifacts(str(files))
    tracked.log_dict({"trials": trained.trials}, "trials.json")
