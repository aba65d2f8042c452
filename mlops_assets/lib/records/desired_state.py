"""The desired state: which bundle should serve, as one small file an environment.

The serving app follows this file and nothing else. Only a rollout writes it.
"""

from collections.abc import Callable
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


def claimed(storage: Storage, use_case: str, environment: str) -> int:
    """Number of the ledger's entry that the desired state says it follows; 0 if it says none."""
    number = (storage.read_json(key(use_case, environment)) or {}).get("decision", 0)
    return number if isinstance(number, int) else 0


def write(
    storage: Storage,
    use_case: str,
    environment: str,
    roles: dict[str, Any],
    *,
    decision: int = 0,
    salt: str = "",
    newest: Callable[[], int] | None = None,
) -> None:
    """Say what should serve.

    Args:
        storage: The storage root.
        use_case: Whose model.
        environment: Where, for example ``dev``.
        roles: By role: ``version``, ``bundle`` (a key of the storage), ``digest``, ``percent``.
        decision: Number of the ledger's entry that wants it so.
        salt: Chooses, with the key of a request, which of them a challenger answers.
        newest: Gives the number of the ledger's newest entry. A state that claims a later one was
            not written by a rollout, or is of a ledger that is lost, and holds nobody up.

    Raises:
        OvertakenError: If what is there was wanted by a later entry.
    """
    present = claimed(storage, use_case, environment)
    # Asked after the state was read: an entry is there before its state is.
    if present > decision and (newest is None or present <= newest()):
        raise OvertakenError(
            f"the desired state of {use_case} in {environment} is that of entry {present} of the "
            f"ledger, which is later than entry {decision}"
        )
    state = {
        "schema_version": SCHEMA_VERSION,
        "use_case": use_case,
        "environment": environment,
        "updated_at": datetime.now(UTC).isoformat(),
        "decision": decision,
        "salt": salt,
        "roles": roles,
    }
    storage.write_json(key(use_case, environment), state)
