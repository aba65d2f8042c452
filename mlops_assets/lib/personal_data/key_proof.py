"""A proof of the key by which the personal data of a use case are hashed, to notice another one.

With another key a person would become somebody else: their new rows would not be told to be of the
same entity, and nobody's old ones would be found to be erased. The proof is the keyed digest of a
salt of the use case; it does not give the key away, and is made when a batch is hashed first.
"""

from __future__ import annotations

import secrets

from mlops_assets.lib.personal_data.pseudonyms import KEY_VARIABLE, pseudonym
from mlops_assets.lib.storage.root import Storage

SALT_BYTES = 32


class OtherKeyError(ValueError):
    """The key is another one than that of the data."""


def place(use_case: str) -> str:
    """Where the proof lies in the storage."""
    return f"{use_case}/personal_data/key.json"


def proof(storage: Storage, use_case: str) -> str | None:
    """What tells the key of the data from every other; None where nothing was hashed yet."""
    record = storage.read_json(place(use_case))
    return None if record is None else str(record["proof"])


def prove(storage: Storage, use_case: str, key: str) -> None:
    """Make the proof of a key that is about to be used first, or hold the key against it.

    Raises:
        OtherKeyError: See ``refuse_another``.
    """
    if proof(storage, use_case) is None:
        salt = secrets.token_hex(SALT_BYTES)
        # Of two that come first, one makes it, and the other is held against it.
        storage.create_json(place(use_case), {"salt": salt, "proof": pseudonym(salt, key)})
    refuse_another(storage, use_case, key)


def refuse_another(storage: Storage, use_case: str, key: str) -> None:
    """Refuse a key that is not that of the data.

    Raises:
        OtherKeyError: Saying what is wrong and what to do. Without a proof every key is taken.
    """
    record = storage.read_json(place(use_case))
    if record is None or pseudonym(record["salt"], key) == record["proof"]:
        return
    raise OtherKeyError(
        f"{use_case}: {KEY_VARIABLE} is another key than the one by which its personal data were "
        "hashed, so that nobody would be told to be the same person: set the key of before, or "
        "see `Another key` in docs/data.md"
    )
