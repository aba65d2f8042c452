"""The rollout that is under way, as the state of a use case shows it."""

from typing import Any

from mlops_assets import home
from mlops_assets.lib.records.history import under_way
from mlops_assets.lib.records.rollouts import Rollouts
from mlops_assets.lib.spec.rollout_policy import rollout_policy
from mlops_assets.lib.spec.spec_file import SpecError
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage


def found(store: Storage, spec: UseCase, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The step of the rollout that is under way, or None where none is."""
    begun = under_way(entries)
    if begun is None:
        return None
    rollouts = Rollouts(store, spec.name, home.environment())
    progress, held = rollouts.progress(begun[0]), rollouts.paused(begun[0])
    steps = progress["steps"]
    judged = steps[-1].get("judged") if steps else None
    return {
        "version": progress["version"],
        "digest": progress["bundle"],
        "step": steps[-1]["name"] if steps else None,
        "percent": steps[-1]["percent"] if steps else None,
        "number": len(steps),
        "of": len(progress["plan"]) if "plan" in progress else _planned(spec),
        "elapsed": progress["elapsed"],
        "seconds": steps[-1]["seconds"] * (1 + progress["extended"]) if steps else None,
        "verdict": judged and judged["verdict"],
        "said": judged and judged["said"],
        "paused_by": held and held["actor"],
    }


def _planned(spec: UseCase) -> int | None:
    """How many steps there will be; None where this environment's policy cannot be read."""
    try:
        policy = rollout_policy(spec)
    except (SpecError, OSError):
        return None  # `mlops doctor` says what is wrong with it
    rules = policy.by_use_case.get(spec.name) if policy else None
    return len((rules or spec.rollout).steps)


def as_line(rollout: dict[str, Any]) -> str:
    """The same for a person."""
    of = f"version {rollout['version']} ({rollout['digest'][:12]})"
    if rollout["step"] is None:
        steps = "" if rollout["of"] is None else f" of {rollout['of']}"
        return f"{of}: before its first step{steps}"
    line = (
        f"{of}: {rollout['step']} (step {rollout['number']} of {rollout['of']}), "
        f"{rollout['elapsed']:.0f} of {rollout['seconds']:g} s"
    )
    if rollout["verdict"]:
        line += f", so far {rollout['verdict']}: {rollout['said']}"
    return line + (f"; held by {rollout['paused_by']}" if rollout["paused_by"] else "")
