"""The desired state: which bundle should serve, as one small file an environment.

The serving app follows this file and nothing else. Only a rollout writes it.
"""

from datetime import UTC, datetime
from typing import Any

from mlops_assets.lib.storage.root import Storage

SCHEMA_VERSION = 1


def key(use_case: str, environment: str) -> str:
    """Where the desired state of a use case in an environment lies."""
    return f"{use_case}/desired/{environment}.json"


def read(storage: Storage, use_case: str, environment: str) -> dict[str, Any]:
    """The roles of the desired state: empty where nothing should serve yet."""
    state = storage.read_json(key(use_case, environment))
    roles: dict[str, Any] = {} if state is None else state["roles"]
    return roles


def write(storage: Storage, use_case: str, environment: str, roles: dict[str, Any]) -> None:
    """Say what should serve.

    Args:
        storage: The storage root.
        use_case: Whose model.
        environment: Where, for example ``dev``.
        roles: By role: ``version``, ``bundle`` (a key of the storage), ``digest``, ``percent``.
    """
    state = {
        "schema_version": SCHEMA_VERSION,
        "use_case": use_case,
        "environment": environment,
        "updated_at": datetime.now(UTC).isoformat(),
        "roles": roles,
    }
    storage.write_json(key(use_case, environment), state)
