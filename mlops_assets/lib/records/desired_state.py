"""The desired state: which bundle should serve, as one small file an environment.

The serving app follows this file and nothing else. Only a rollout writes it.
"""

from datetime import UTC, datetime
from typing import Any

from mlops_assets.lib.storage.root import Storage

SCHEMA_VERSION = 1


class OvertakenError(Exception):
    """A newer decision of the ledger has been carried out, or is about to be."""


class TakenBackError(Exception):
    """The version did not answer as it must; what served before serves again."""


def key(use_case: str, environment: str) -> str:
    """Where the desired state of a use case in an environment lies."""
    return f"{use_case}/desired/{environment}.json"


def read(storage: Storage, use_case: str, environment: str) -> dict[str, Any]:
    """The roles of the desired state: empty where nothing should serve yet."""
    state = storage.read_json(key(use_case, environment))
    roles: dict[str, Any] = {} if state is None else state["roles"]
    return roles


def write(
    storage: Storage, use_case: str, environment: str, roles: dict[str, Any], *, decision: int = 0
) -> None:
    """Say what should serve.

    Args:
        storage: The storage root.
        use_case: Whose model.
        environment: Where, for example ``dev``.
        roles: By role: ``version``, ``bundle`` (a key of the storage), ``digest``, ``percent``.
        decision: Number of the ledger's entry that wants it so.

    Raises:
        OvertakenError: If what is there was wanted by a later entry.
    """
    there = storage.read_json(key(use_case, environment)) or {}
    if there.get("decision", 0) > decision:
        raise OvertakenError(
            f"the desired state of {use_case} in {environment} is that of entry "
            f"{there['decision']} of the ledger, which is later than entry {decision}"
        )
    state = {
        "schema_version": SCHEMA_VERSION,
        "use_case": use_case,
        "environment": environment,
        "updated_at": datetime.now(UTC).isoformat(),
        "decision": decision,
        "roles": roles,
    }
    storage.write_json(key(use_case, environment), state)
