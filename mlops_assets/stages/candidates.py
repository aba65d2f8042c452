"""``candidates/<algorithm>``: one trained algorithm each, as ONNX, with an out-of-fold score."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib import current
from mlops_assets.lib.digests import digest_of, file_digest
from mlops_assets.lib.evaluation import baseline
from mlops_assets.lib.onnx_model import convert
from mlops_assets.lib.report import score_table
from mlops_assets.lib.spec import UseCase
from mlops_assets.lib.statistics import with_intervals
from mlops_assets.lib.storage import Storage
from mlops_assets.lib.training import Chosen, train
from mlops_assets.lib.training_plan import STACK, Algorithm
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
    members = spec.training.members if algorithm == STACK else []
    how = f"made of {', '.join(members)}" if members else "searched by Optuna, calibrated"

    @dg.asset(
        key=asked.asset,
        deps=[
            asset_key(spec, training_set.STAGE),
            *(asset_key(spec, STAGE, member) for member in members),
        ],
        check_specs=asked.specs(),
        description=f"Nested cross-validation of {algorithm.replace('_', ' ')}: {how}, converted "
        "to ONNX and logged to MLflow.",
        **common(spec, STAGE, "scikitlearn", "mlflow", "onnx"),
    )
    def candidate(
        context: dg.AssetExecutionContext, storage: StorageRoot, mlflow: MlflowTracking
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        import numpy as np
        import pandas as pd

        store, plan = storage.open(), spec.training
        source = current.read(store, spec.name, training_set.STAGE)
        if source is None:
            raise dg.Failure(f"there is no training set: materialise {spec.name}/training_set")
        made_of = {member: _member(store, spec, member, source["digest"]) for member in members}
        rows = pd.read_parquet(training_set.files(store, spec, source) / ROWS)
        features = rows[source["features"]].to_numpy(np.float32)
        target = rows["target"].to_numpy(np.float64)
        seen = (rows["side"] == "train").to_numpy()

        tags = {"training_set": source["digest"], "algorithm": algorithm}
        with (
            mlflow.run(context, spec.name, tags) as tracked,
            tempfile.TemporaryDirectory() as scratch,
        ):
            wall, cpu = time.perf_counter(), time.process_time()
            trained = train(
                algorithm,
                features[seen],
                target[seen],
                plan,
                {name: _chosen(record) for name, record in made_of.items()},
            )
            seconds = {
                "wall": time.perf_counter() - wall,
                "CPU": time.process_time() - cpu,
            }
            threshold = spec.decision.threshold
            scores = with_intervals(target[seen], trained.out_of_fold, threshold, seed=plan.seed)
            dummy = baseline(target[seen], threshold, plan.seed)
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
                "parameters": trained.chosen.parameters,
                "fold_parameters": trained.chosen.by_fold,
                "members": {name: member["digest"] for name, member in made_of.items()},
                "out_of_fold": {name: score.as_dict() for name, score in scores.items()},
                "files": {name: file_digest(local / name) for name in (MODEL, PREDICTIONS)},
            }
            record["digest"] = digest = digest_of(record)
            run = tracked.active_run()
            record["mlflow"] = {"run": run.info.run_id, "experiment": run.info.experiment_id}
            _log(tracked, record, local)
            mlflow.log_trials(run, trained.trials)
            store.publish(local, folder(spec.name, digest))
        current.write(store, spec.name, stage(algorithm), record)

        url = mlflow.run_url(run.info.experiment_id, run.info.run_id)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "out-of-fold scores": dg.MetadataValue.md(score_table(scores, dummy)),
                **{name: scores[name].value for name in ("roc_auc", "accuracy", "log_loss")},
                "parameters": dg.MetadataValue.json(trained.chosen.parameters),
                "trials": dg.MetadataValue.json(trained.trials),
                **{f"seconds ({clock})": value for clock, value in seconds.items()},
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
        auc, loss, prior = scores["roc_auc"], scores["log_loss"], dummy["log_loss"]
        said = f"ROC AUC {auc} against 0.5; log loss {loss.value:.3f} against {prior.value:.3f}"
        beats = auc.low > 0.5 and loss.value < prior.value
        yield asked.result(context, "beats_dummy", bool(beats), digest, said)

    return dg.Definitions(assets=[candidate])


def _member(store: Storage, spec: UseCase, name: Algorithm, digest: str) -> dict[str, Any]:
    """The record of a member of the stacked ensemble, trained on the same training set."""
    record = current.read(store, spec.name, stage(name))
    if record is None or record["training_set"] != digest:
        raise dg.Failure(
            f"{name} was not trained on the current training set: "
            f"materialise {spec.name}/{STAGE}/{name}"
        )
    return record


def _chosen(record: Mapping[str, Any]) -> Chosen:
    return Chosen(record["parameters"], record["fold_parameters"])


def files(store: Storage, spec: UseCase, record: dict[str, Any]) -> Path:
    """The folder of a candidate, as long as its files are what was recorded."""
    return store.verified_folder(folder(spec.name, record["digest"]), record["files"])


def _log(tracked: Any, record: Mapping[str, Any], files: Path) -> None:
    """Write a candidate to its MLflow run."""
    tracked.log_params(_flat(record["parameters"]))
    tracked.log_metrics(
        {
            f"oof_{name}" + ("" if side == "value" else f"_{side}"): value
            for name, score in record["out_of_fold"].items()
            for side, value in score.items()
        }
    )
    tracked.set_tag("candidate", record["digest"])
    tracked.log_artifacts(str(files))


def _flat(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters of the members of an ensemble under ``member.name``."""
    flat: dict[str, Any] = {}
    for name, value in parameters.items():
        if isinstance(value, Mapping):
            flat |= {f"{name}.{inner}": each for inner, each in value.items()}
        else:
            flat[name] = value
    return flat
