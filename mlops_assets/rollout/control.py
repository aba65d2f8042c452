"""What a person does about a rollout that is under way: hold it, hurry it, or stop it.

Whoever carries it out sees that within two seconds. To hurry and to stop are decisions, and lines
of the ledger. To stop does not wait for anybody: what served before is put back here and now, also
when the run that watched the steps is gone.
"""

from typing import Any, Literal, get_args

from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.history import under_way
from mlops_assets.lib.records.ledger import Ledger, MovedOnError, head, in_a_line
from mlops_assets.lib.records.rollouts import Rollouts
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.rollout_target import RolloutTarget

Action = Literal["pause", "resume", "promote", "abort"]
ACTIONS: tuple[Action, ...] = get_args(Action)


def control(
    spec: UseCase,
    store: Storage,
    ledger: Ledger,
    target: RolloutTarget,
    action: Action,
    *,
    actor: str,
    reason: str,
) -> str:
    """Hold, hurry or stop the rollout that is under way.

    Args:
        spec: The use case.
        store: The storage root.
        ledger: Of the use case.
        target: Where the version is rolled out.
        action: ``pause`` and ``resume`` its steps, ``promote`` it without the remaining ones, or
            ``abort`` it.
        actor: Who decides.
        reason: Why, in a line.

    Returns:
        What was done, in a sentence.

    Raises:
        ValueError: If none is under way here, or no reason is given.
        OvertakenError: If a newer decision was written meanwhile.
    """
    reason = in_a_line(reason)
    while True:
        entries = ledger.verify()
        found = under_way(entries)
        if found is None or found[1]["environment"] != target.environment:
            said = f"no rollout of {spec.name} is under way in {target.environment}"
            raise ValueError(f"{said}: `mlops reject` stops one that has not begun")
        move, begun = found
        of = f"the rollout of version {move['version']}"
        if action in ("pause", "resume"):
            rollouts = Rollouts(store, spec.name, target.environment)
            rollouts.hold(move, action == "pause", actor, reason)
            return f"{of} {'waits' if action == 'pause' else 'goes on'}"
        names = ("version", "bundle", "path", "environment", "decision_of")
        facts: dict[str, Any] = {name: begun[name] for name in names}
        facts |= {"actor": actor, "decided_by": "person", "reasons": [reason]}
        try:
            if action == "promote":
                entry = ledger.append("expedited", facts, after=len(entries))
                left_out = f"{of} leaves out its remaining steps"
                return f"{left_out} (entry {entry['sequence']} of the ledger)"
            facts |= {"final": True, "outcome": "aborted"}
            entry = ledger.append("aborted", facts, after=len(entries))
        except MovedOnError:
            continue
        desired_state.write(
            store,
            spec.name,
            target.environment,
            begun["before"],
            decision=entry["sequence"],
            newest=lambda: len(ledger.verify()),
        )
        target.apply(spec.name, begun["before"], head(entry))
        return f"{of} is aborted (entry {entry['sequence']} of the ledger)"
