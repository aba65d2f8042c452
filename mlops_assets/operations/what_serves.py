"""What is to serve, what the cluster is made for, and what answers, in each environment.

The desired state of every environment of this storage root is there to be read. What is deployed
and what answers can be asked in the environment of this process alone.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mlops_assets import home
from mlops_assets.lib.digests import short
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.history import Entry
from mlops_assets.lib.records.ledger import LedgerError
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.rollout_target import RolloutTarget, TargetError, problem
from mlops_assets.resources.targets import rollout_target

# A person waits for it.
PATIENCE_SECONDS = 2.0

Record = dict[str, Any]


def what_serves(store: Storage, use_case: str, entries: Sequence[Entry]) -> Record:
    """Desired, deployed and served version of a use case.

    Args:
        store: The storage root.
        use_case: Whose model.
        entries: Of its ledger.

    Returns:
        ``environment``, ``desired``, ``deployed`` (in a cluster: what its pods are made for),
        ``serving``, ``deployment`` (what of them is not as desired or cannot be seen, in a
        sentence) and ``elsewhere`` (what other environments of the storage root desire). A version
        is ``version`` and ``digest``, or null; of one that the ledger does not know, the number is
        null.
    """
    here = home.environment()
    roles = desired_state.read(store, use_case, here)
    champion = roles.get("champion")
    target = rollout_target(PATIENCE_SECONDS)
    said: list[str] = []
    deployed = _asked(said, lambda: target.deployed(use_case))
    if not said:
        drifted = _asked(said, lambda: target.drift(use_case, roles, entries))
        said += [drifted] if drifted else []
    numbers = {e["bundle"]: e["version"] for e in entries if e.get("bundle") and e.get("version")}
    return {
        "environment": here,
        "desired": champion and _version(champion["version"], champion["digest"]),
        "deployed": deployed and _version(numbers.get(deployed), deployed),
        "deployment": "; ".join(said) or None,
        "serving": _serving(target, use_case),
        "elsewhere": _elsewhere(store, use_case, here),
    }


def _asked(said: list[str], ask: Callable[[], str | None]) -> str | None:
    try:
        return ask()
    except (TargetError, LedgerError) as error:
        said.append(str(error))
        return None


def _serving(target: RolloutTarget, use_case: str) -> Record | None:
    """What the app serves, or in a cluster all its ready pods alike; None where nobody answers."""
    try:
        model = target.model(use_case)
    except TargetError:
        return None
    champion = model["roles"].get("champion") or {"version": None, "digest": None}
    about = {"use_case": use_case, "ready": model["ready"], "problem": problem(model)}
    return about | _version(champion["version"], champion["digest"])


def _elsewhere(store: Storage, use_case: str, here: str) -> list[Record]:
    names = [n.removesuffix(".json") for n in store.list(f"{use_case}/desired") if n[0] != "."]
    found = []
    for name in names:
        champion = desired_state.read(store, use_case, name).get("champion")
        if name != here and champion is not None:
            found.append(
                {"environment": name, "desired": _version(champion["version"], champion["digest"])}
            )
    return found


def _version(number: str | None, digest: str | None) -> Record:
    return {"version": number, "digest": digest}


def as_lines(state: Mapping[str, Any], rollout: str | None) -> list[str]:
    """The same for a person.

    Args:
        state: As ``what_serves`` gives it.
        rollout: The step that is at work, in a line.
    """
    lines = [f"  desired    {_line(state['desired'])}, in {state['environment']}"]
    lines += [f"  rollout    {rollout}"] if rollout else []
    lines += [f"  deployed   {_line(state['deployed'])}"] if state["deployed"] else []
    lines += [f"  deployment {state['deployment']}"] if state["deployment"] else []
    lines.append(f"  serving    {_line(state['serving'])}")
    for each in state["elsewhere"]:
        lines.append(f"  elsewhere  {_line(each['desired'])} is desired in {each['environment']}")
    return lines


def _line(entry: Mapping[str, Any] | None) -> str:
    if entry is None or (entry["version"] is None and entry["digest"] is None):
        return "none"
    number = "an unknown version" if entry["version"] is None else f"version {entry['version']}"
    digest = "not in every pod" if entry["digest"] is None else short(entry["digest"])
    ready = "" if entry.get("ready", True) else ", not ready"
    problem = f"; {entry['problem']}" if entry.get("problem") else ""
    return f"{number} ({digest}){ready}{problem}"
