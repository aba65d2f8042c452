"""``registered_version``: the winner as a bundle, tried in a sandbox, in MLflow as challenger."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.bundles import bundle, signing
from mlops_assets.lib.bundles.robustness import Steadiness, steadiness
from mlops_assets.lib.bundles.sandbox import try_bundle
from mlops_assets.lib.evaluation.model_card import Facts, card, empty_sections, sections
from mlops_assets.lib.records import current, recipe
from mlops_assets.lib.records.history import last_verdict
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.training.onnx_model import PARITY, predictor
from mlops_assets.lib.training_set.files import INPUTS
from mlops_assets.lib.training_set.rows import feature_slices
from mlops_assets.resources import MlflowTracking, StorageRoot
from mlops_assets.stages import candidates, evaluation, training_set
from mlops_assets.stages.checks import Check, Checks, asset_key, common
from serving.bundle.manifest import MANIFEST, BundleError, verify

STAGE = "registered_version"


def checks(spec: UseCase) -> Checks:
    """What is asked of a bundle; the subject is its digest."""
    budget, steady = spec.gate.latency_budget_seconds * 1000, spec.gate.robustness
    return Checks(
        asset_key(spec, STAGE),
        (
            Check(
                "signature",
                "Every file of the bundle has the digest that its manifest names, and the bundle "
                "is signed if this deployment has a key.",
            ),
            Check("onnx_parity", f"ONNX gives scikit-learn's probability within {PARITY:g}."),
            Check("golden_rows", "The real serving app answers the golden rows as training did."),
            Check("latency", f"It answers within {budget:g} ms at the median."),
            Check(
                "robustness",
                f"Noise of {steady.noise:.1%} of the deviations flips at most "
                f"{steady.noise_flips:.1%} of the answers, and a value that is missing at most "
                f"{steady.missing_flips:.1%} of those that had it, or more by chance alone.",
            ),
            Check("card", "Every section of the model card is filled in."),
        ),
    )


def folder(use_case: str, digest: str) -> str:
    """Where a bundle lies."""
    return f"{use_case}/bundles/{digest}"


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``registered_version`` with its checks."""
    asked = checks(spec)
    columns = [column.name for column in spec.contract.inputs]

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, stage) for stage in (evaluation.STAGE, training_set.STAGE)],
        check_specs=asked.specs(),
        description="The bundle that serving loads (ONNX, SQL and JSON with digests, no pickle), "
        "registered in MLflow with the alias `challenger`.",
        **common(spec, STAGE, "mlflow", "onnx"),
    )
    def registered_version(
        context: dg.AssetExecutionContext, storage: StorageRoot, mlflow: MlflowTracking
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store = storage.open()
        source = current.read(store, spec.name, training_set.STAGE)
        judged = current.read(store, spec.name, evaluation.STAGE)
        if source is None or judged is None or judged["training_set"] != source["digest"]:
            raise dg.Failure("the current training set has no evaluation: materialise evaluation")
        entry = evaluation.contestants(store, spec, source["digest"]).get(judged["winner"])
        if entry is None or entry["digest"] != judged["candidates"][judged["winner"]]:
            raise dg.Failure("the winner was trained again since: materialise evaluation")

        key = signing.key_from_environment()
        lineage: dict[str, Any] = {
            "training_set": source["digest"],
            "wanted": source["wanted"],
            "evaluation": judged["digest"],
            "candidate": entry["digest"],
            "algorithm": entry["algorithm"],
            "contract": source["contract"],
            "recipe": recipe.keep(store, spec.name, recipe.Recipe.of(spec)),
            "batches": source["batches"],
        }
        rows = training_set.files(store, spec, source)
        files = candidates.files(store, spec, entry)
        parts = bundle.Parts(
            use_case=spec.name,
            contract=spec.contract,
            features_sql=source["features_sql"],
            features=source["features"],
            threshold=judged["threshold"],
            training_set=rows,
            candidate=files,
            lineage=lineage,
            provenance={
                "dagster_run_id": context.run.run_id,
                "mlflow_run_id": entry["mlflow"]["run"],
            },
        )
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / "bundle"
            manifest = bundle.write(parts, local)
            digest = bundle.digest(manifest)
            if key is not None:
                signing.write_signature(key, digest, local)
            store.publish(local, folder(spec.name, digest))
        if key is not None:
            # What lay there already may have been made before there was a key.
            signing.sign_stored(key, digest, store, folder(spec.name, digest))
        # What lies there, which may be older than what was just made.
        path = store.local(folder(spec.name, digest))
        steady = steadiness_of(spec, path, digest, rows / INPUTS)
        about = [e for e in storage.ledger(spec.name).entries() if e.get("bundle") == digest]
        entry_of = last_verdict(about)
        # The manifest that lies there, whose provenance may be that of an earlier run.
        found = store.read_json(f"{folder(spec.name, digest)}/{MANIFEST}") or manifest
        facts = Facts(spec, digest, found, judged, source, steady, entry_of)
        text = card(facts)
        version = mlflow.register(
            spec.name,
            path,
            digest,
            entry["mlflow"]["run"],
            text,
            {
                "training_set": source["digest"],
                "dagster_run": context.run.run_id,
                "source": store.uri(folder(spec.name, digest)),
            },
        )
        record = {"version": version, "digest": digest, "bundle": folder(spec.name, digest)}
        current.write(store, spec.name, STAGE, record)

        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "version": version,
                "model card": dg.MetadataValue.md(text),
                "bundle": dg.MetadataValue.path(store.uri(folder(spec.name, digest))),
                "MLflow version": dg.MetadataValue.url(mlflow.version_url(spec.name, version)),
                "algorithm": entry["algorithm"],
                "digest": digest,
            },
        )
        yield asked.result(context, "signature", *_signature(path, digest, key))
        gap, count = _parity(files, rows, source["features"])
        said = f"largest difference {gap:.1e} over {count} rows"
        figures = {"difference": gap, "limit": PARITY}
        yield asked.result(context, "onnx_parity", gap <= PARITY, digest, said, figures)
        trial = try_bundle(path, digest, spec.name, columns)
        budget = spec.gate.latency_budget_seconds
        said = trial.problem or (
            f"{trial.answered} rows answered, largest difference {trial.difference:.1e}; "
            f"ready after {trial.start_seconds:.1f} s"
        )
        same = trial.problem is None and trial.difference <= PARITY
        figures = {} if trial.problem else {"difference": trial.difference, "limit": PARITY}
        yield asked.result(context, "golden_rows", same, digest, said, figures)
        median, late = trial.seconds * 1000, trial.late_seconds * 1000
        said = trial.problem or (
            f"median {median:.1f} ms, budget {budget * 1000:g} ms; 99 of 100 within {late:.1f} ms"
        )
        figures = {"budget (ms)": budget * 1000}
        if not trial.problem:
            figures |= {"median (ms)": median, "99th percentile (ms)": late}
        in_time = trial.problem is None and trial.seconds <= budget
        yield asked.result(context, "latency", in_time, digest, said, figures)
        yield asked.result(context, "robustness", *_steady(spec, steady, digest))
        empty = empty_sections(facts)
        said = f"not filled in: {', '.join(empty)}: say it in `card:` of the spec"
        said = said if empty else f"{len(sections(facts))} sections are filled in"
        figures = {"empty sections": float(len(empty))}
        yield asked.result(context, "card", not empty, digest, said, figures)

    return dg.Definitions(assets=[registered_version])


def _signature(path: Path, digest: str, key: signing.SigningKey | None) -> tuple[bool, str, str]:
    try:
        manifest = verify(path, digest)
        signed, said = signing.said_of(path, key, digest)
    except BundleError as error:
        return False, digest, str(error)
    return signed, digest, f"{len(manifest['files'])} files agree with the manifest; {said}"


def steadiness_of(spec: UseCase, path: Path, digest: str, inputs: Path) -> Steadiness | str:
    """How steady a bundle answers, or why it gives no answer.

    Args:
        spec: Has the limits and the seed.
        path: Folder of the bundle.
        digest: Of the bundle.
        inputs: ``inputs.parquet`` of its training set.
    """
    from serving.bundle.features import FeatureError
    from serving.bundle.loaded import Bundle

    try:
        loaded = Bundle.load(path, digest, spec.name)
        limits, seed = spec.gate.robustness, spec.training.seed
        return steadiness(loaded, spec.contract, inputs, limits, seed)
    except (BundleError, FeatureError) as error:
        return str(error)


def _steady(
    spec: UseCase, found: Steadiness | str, digest: str
) -> tuple[bool, str, str, dict[str, Any]]:
    """What is said of the robustness, as ``Checks.result`` takes it."""
    limits = spec.gate.robustness
    figures = {
        "noise flips, limit": float(limits.noise_flips),
        "missing flips, limit": float(limits.missing_flips),
    }
    if isinstance(found, str):
        return False, digest, found, figures
    problems, parts = found.problems(limits), []
    if found.noise is not None:
        figures["noise flips"] = found.noise.share.value
        parts.append(f"noise flips {found.noise}, limit {limits.noise_flips:.1%}")
    if found.noise_by_column:
        parts.append(f"most by {found.noise_by_column[0].column}: {found.noise_by_column[0]}")
    if found.missing:
        worst = found.missing[0]
        figures["missing flips"] = worst.share.value
        parts.append(f"without {worst.column} {worst}, limit {limits.missing_flips:.1%}")
    figures |= {f"flips by noise in {e.column}": e.share.value for e in found.noise_by_column}
    figures |= {f"flips without {e.column}": e.share.value for e in found.missing}
    said = "; ".join(problems or parts) or "the contract has nothing that noise moves or may miss"
    return not problems, digest, said, figures


def _parity(candidate: Path, rows: Path, features: list[str]) -> tuple[float, int]:
    """Largest difference between ONNX and scikit-learn over every row, test rows included.

    Features are read some rows at a time; what scikit-learn gave, 8 bytes a row, is read whole.
    """
    import numpy as np
    import pyarrow.parquet as pq

    answered = pq.read_table(candidate / candidates.PREDICTIONS, columns=["probability"])
    expected = answered["probability"].to_numpy()
    model = predictor(candidate / candidates.MODEL)
    gaps, count = [], 0
    for values in feature_slices(rows, features):
        gaps.append(np.abs(model(values) - expected[count : count + len(values)]).max())
        count += len(values)
    if count != len(expected):
        raise ValueError(f"{len(expected)} predictions for {count} rows of the training set")
    # Of numpy: a NaN is the largest of all, and is no parity.
    return float(np.max(gaps)), count
