"""``rollout``: makes an approved version serve, and crowns it only when it does.

The desired state moves, the serving app follows, the new version answers a golden row, the alias
``champion`` moves and the ledger says ``promoted``. Every step may be done twice, so that a rollout
which was killed is finished by the next one. A version that does not answer is taken back.
"""

from collections.abc import Iterator
from typing import Any

import dagster as dg

from mlops_assets.lib.bundles.bundle import golden_rows, verify_stored
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.ledger import awaiting_rollout, champion
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training.onnx_model import PARITY
from mlops_assets.resources import LocalTarget, MlflowTracking, StorageRoot
from mlops_assets.resources.rollout_target import TargetError
from mlops_assets.stages import promotion
from mlops_assets.stages.checks import Check, Checks, asset_key, common
from serving.bundle.manifest import BundleError

STAGE = "rollout"


def checks(spec: UseCase) -> Checks:
    """What is asked of the app; the subject is the bundle's digest."""
    question = "The app serves the version and answers a golden row as training did."
    return Checks(asset_key(spec, STAGE), (Check("smoke_test", question, blocking=True),))


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``rollout`` with its smoke test."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, promotion.STAGE)],
        check_specs=asked.specs(),
        output_required=False,
        description="Moves the desired state to the approved version, waits until it answers, and "
        "then moves the alias `champion`. A version that does not answer is taken back.",
        **common(spec, STAGE, "fastapi"),
    )
    def rollout(
        context: dg.AssetExecutionContext,
        storage: StorageRoot,
        mlflow: MlflowTracking,
        target: LocalTarget,
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, ledger = storage.open(), storage.ledger(spec.name)
        entries = ledger.verify()
        approved = awaiting_rollout(entries) or champion(entries)
        if approved is None:
            raise dg.Failure(f"the ledger of {spec.name} has no approved version to roll out")
        digest, version = approved["bundle"], approved["version"]
        role = {"version": version, "bundle": approved["path"], "digest": digest, "percent": 100}
        facts = {
            "version": version,
            "bundle": digest,
            "path": approved["path"],
            "training_set": approved["training_set"],
            "wanted": approved["wanted"],
            "environment": target.environment,
            "actor": f"dagster run {context.run.run_id}",
        }
        before = desired_state.read(store, spec.name, target.environment)
        # A rollout that was killed, or the champion once more, finds its own bundle there already.
        previous = before if before.get("champion", {}).get("digest") != digest else _last(entries)
        try:
            verify_stored(store, approved["path"], digest)
            desired_state.write(store, spec.name, target.environment, {"champion": role})
            seconds = target.wait_for(spec.name, digest, spec.rollout.timeout_seconds)
            said, answer = _smoke_test(store, target, spec, role)
        except (TargetError, BundleError) as error:
            desired_state.write(store, spec.name, target.environment, previous)
            if approved["decision"] == "approved":
                ledger.append("aborted", {**facts, "reasons": [str(error)]})
            yield asked.result(context, "smoke_test", False, digest, f"taken back: {error}")
            return
        # The ledger comes last: a kill before it leaves the approval open, and all of this is done
        # once more.
        mlflow.crown(spec.name, version)
        if approved["decision"] == "approved":
            ledger.append("promoted", {**facts, "approval": approved["sequence"]})
        yield dg.MaterializeResult(
            data_version=dg.DataVersion(digest),
            metadata={
                "version": version,
                "environment": target.environment,
                "serving": dg.MetadataValue.url(f"{target.url}/docs"),
                "seconds until it answered": seconds,
                "answer": dg.MetadataValue.json(answer),
                "desired state": dg.MetadataValue.json({"champion": role}),
                "bundle": digest,
            },
        )
        yield asked.result(context, "smoke_test", True, digest, said)

    return dg.Definitions(assets=[rollout])


def _last(entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The roles before a rollout that was killed after it had moved the desired state."""
    entry = champion(entries)
    if entry is None:
        return {}
    bundle = {"version": entry["version"], "bundle": entry["path"], "digest": entry["bundle"]}
    return {"champion": {**bundle, "percent": 100}}


def _smoke_test(
    store: Storage, target: LocalTarget, spec: UseCase, role: dict[str, Any]
) -> tuple[str, dict[str, Any]]:
    """Ask the app for a golden row.

    Raises:
        TargetError: If the answer is another version's, or another number than training's.
    """
    columns = [column.name for column in spec.contract.inputs]
    ((row, expected),) = golden_rows(store.local(role["bundle"]), columns, most=1)
    answer = target.predict(spec.name, row)
    if answer["version"] != role["version"] or answer["digest"] != role["digest"]:
        raise TargetError(f"version {answer['version']} answered in place of {role['version']}")
    if abs(answer["probability"] - expected) > PARITY:
        raise TargetError(f"it answered {answer['probability']}, training said {expected}")
    return f"version {role['version']} answered {answer['probability']:.6f} as expected", answer
