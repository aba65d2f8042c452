"""``candidates/<algorithm>``: one trained algorithm each, as ONNX, with an out-of-fold score."""

import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import digest_of, file_digest
from mlops_assets.lib.evaluation.contest import baseline
from mlops_assets.lib.evaluation.intervals import Interval, with_intervals
from mlops_assets.lib.evaluation.report import score_table
from mlops_assets.lib.records import current, sealed
from mlops_assets.lib.spec.gate import Decision
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.spec.training_plan import STACK, Algorithm, Training
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training.onnx_model import convert
from mlops_assets.lib.training.train import Chosen, Trained, train
from mlops_assets.lib.training_set.files import ROWS
from mlops_assets.lib.training_set.rows import read_rows
from mlops_assets.resources import MlflowTracking, StorageRoot
from mlops_assets.stages import training_set
from mlops_assets.stages.checks import Check, Checks, asset_key, common

STAGE = "candidates"
CHUNK_ROWS = 500_000
MODEL, PREDICTIONS = "model.onnx", "predictions.parquet"


def checks(spec: UseCase, algorithm: str) -> Checks:
    """What is asked of a candidate; the subject is the candidate's digest."""
    return Checks(
        asset_key(spec, STAGE, algorithm),
        (
            Check("trained", "Every row that a fold scores has a finite probability."),
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

        store, plan = storage.open(), spec.training
        source = current.read(store, spec.name, training_set.STAGE)
        if source is None:
            raise dg.Failure(f"there is no training set: materialise {spec.name}/training_set")
        made_of: dict[Algorithm, dict[str, Any]] = {
            member: _member(store, spec, member, source["digest"]) for member in members
        }
        made = training_set.files(store, spec, source)

        tags = {"training_set": source["digest"], "algorithm": algorithm}
        with (
            mlflow.run(context, spec.name, tags) as tracked,
            tempfile.TemporaryDirectory() as scratch,
        ):
            local = Path(scratch)
            entry = make(algorithm, made, source, spec.split, plan, spec.decision, made_of, local)
            trained, record = entry.trained, entry.record
            digest = record["digest"]
            sealed.seal(store, spec.name, record)
            run = tracked.active_run()
            record["mlflow"] = {"run": run.info.run_id, "experiment": run.info.experiment_id}
            _log(tracked, record, local)
            mlflow.log_trials(run, trained.trials)
            store.publish(local, folder(spec.name, digest))
        current.write(store, spec.name, stage(algorithm), record)

        scores, dummy = entry.scores, entry.dummy
        url = mlflow.run_url(run.info.experiment_id, run.info.run_id)
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "out-of-fold scores": dg.MetadataValue.md(score_table(scores, dummy)),
                **{name: scores[name].value for name in ("roc_auc", "accuracy", "log_loss")},
                "parameters": dg.MetadataValue.json(trained.chosen.parameters),
                "trials": dg.MetadataValue.json(trained.trials),
                "searches cut short by the budget": trained.cut,
                "reproducible": record["reproducible"],
                "rows scored out of fold": record["scored_rows"],
                **{f"seconds ({clock})": value for clock, value in entry.seconds.items()},
                "MLflow run": dg.MetadataValue.url(url),
                "training set": source["digest"],
                "digest": digest,
            },
        )
        out_of_fold = trained.out_of_fold[trained.scored]
        finite = int(np.isfinite(out_of_fold).sum())
        said = f"{finite} of {len(out_of_fold)} rows have a score"
        if len(out_of_fold) < len(trained.scored):
            said += f"; the oldest {len(trained.scored) - len(out_of_fold)} are fitted on only"
        yield asked.result(context, "trained", finite == len(out_of_fold), digest, said)
        said = "; ".join(trained.complaints[:3]) or "every fit converged"
        yield asked.result(context, "converged", not trained.complaints, digest, said)
        auc, loss, prior = scores["roc_auc"], scores["log_loss"], dummy["log_loss"]
        said = f"ROC AUC {auc} against 0.5; log loss {loss.value:.3f} against {prior.value:.3f}"
        beats = auc.low > 0.5 and loss.value < prior.value
        yield asked.result(context, "beats_dummy", bool(beats), digest, said)

    return dg.Definitions(assets=[candidate])


def _answers(estimator: Any, features: Any, place: Any) -> Any:
    """Probability of every row in the order of the file, some at a time: models make copies."""
    import numpy as np

    parts = [place[first : first + CHUNK_ROWS] for first in range(0, len(place), CHUNK_ROWS)]
    return np.concatenate([estimator.predict_proba(features[part])[:, 1] for part in parts])


@dataclass(frozen=True)
class Entry:
    """A candidate as it enters the contest.

    Attributes:
        record: What it is made of, its scores and the digests of its files, with its own digest.
        scores: Out of fold, by metric.
        dummy: The same of a model that always says the prior.
        seconds: Time of the training, by clock.
    """

    trained: Trained
    record: dict[str, Any]
    scores: dict[str, Interval]
    dummy: dict[str, Interval]
    seconds: dict[str, float]


def make(
    algorithm: Algorithm,
    made: Path,
    source: Mapping[str, Any],
    split: Split,
    plan: Training,
    decision: Decision,
    members: Mapping[Algorithm, Mapping[str, Any]],
    local: Path,
) -> Entry:
    """Train a candidate, and write its model and its predictions.

    Args:
        algorithm: Which.
        made: Folder of the training set.
        source: Record of the training set.
        split: What the training set was made with.
        plan: Search, folds and seed.
        decision: Sets the threshold.
        members: Records of what the stacked ensemble is made of.
        local: Receives ``model.onnx`` and ``predictions.parquet``.
    """
    import numpy as np
    import pyarrow.parquet as pq

    rows = read_rows(made, source["features"], split)
    features, target = rows.features, rows.target[: rows.train]
    wall, cpu = time.perf_counter(), time.process_time()
    trained = train(
        algorithm,
        features[: rows.train],
        target,
        plan,
        {name: _chosen(record) for name, record in members.items()},
        rows.ties,
    )
    seconds = {"wall": time.perf_counter() - wall, "CPU": time.process_time() - cpu}
    threshold = decision.threshold
    scored = trained.scored
    truth, out_of_fold = target[scored], trained.out_of_fold[scored]
    scores = with_intervals(truth, out_of_fold, threshold, seed=plan.seed)
    dummy = baseline(truth, threshold, plan.seed)
    (local / MODEL).write_bytes(convert(trained.estimator, features.shape[1]))
    predictions = pq.read_table(made / ROWS, columns=["row_id", "side", "target"]).to_pandas()
    predictions["probability"] = _answers(trained.estimator, features, rows.place)
    tested = np.full(len(rows.place) - rows.train, np.nan)
    predictions["out_of_fold"] = np.append(trained.out_of_fold, tested)[rows.place]
    predictions.to_parquet(local / PREDICTIONS, index=False)
    record: dict[str, Any] = {
        "algorithm": algorithm,
        "training_set": source["digest"],
        "parameters": trained.chosen.parameters,
        "fold_parameters": trained.chosen.by_fold,
        "members": {name: member["digest"] for name, member in members.items()},
        # A search that the clock ended does not end at the same trial again.
        "reproducible": not trained.cut
        and all(member["reproducible"] for member in members.values()),
        "scored_rows": int(scored.sum()),
        "out_of_fold": {name: score.as_dict() for name, score in scores.items()},
        "files": {name: file_digest(local / name) for name in (MODEL, PREDICTIONS)},
    }
    return Entry(trained, record | {"digest": digest_of(record)}, scores, dummy, seconds)


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
