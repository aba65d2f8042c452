"""The smoke test: what serves answers a golden row by the number that training computed for it."""

from typing import Any

from mlops_assets.lib.bundles.bundle import golden_rows
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training.onnx_model import PARITY
from mlops_assets.resources.rollout_target import RolloutTarget, TargetError


def smoke_test(
    store: Storage,
    target: RolloutTarget,
    spec: UseCase,
    role: dict[str, Any],
    version: str | None = None,
) -> tuple[str, dict[str, Any]]:
    """Ask the app for a golden row.

    Args:
        store: The storage root.
        target: Where the app answers.
        spec: The use case.
        role: ``version``, ``bundle`` (a key of the storage) and ``digest`` that must answer.
        version: Asked by its number, whoever answers otherwise.

    Returns:
        What was found, in a sentence, and the answer.

    Raises:
        TargetError: If the answer is another version's, or another number than training's.
    """
    columns = [column.name for column in spec.contract.inputs]
    ((row, expected),) = golden_rows(store.local(role["bundle"]), columns, most=1)
    answer = target.predict(spec.name, row, version)
    if answer["version"] != role["version"] or answer["digest"] != role["digest"]:
        raise TargetError(f"version {answer['version']} answered in place of {role['version']}")
    if abs(answer["probability"] - expected) > PARITY:
        raise TargetError(f"it answered {answer['probability']}, training said {expected}")
    return f"version {role['version']} answered {answer['probability']:.6f} as expected", answer
