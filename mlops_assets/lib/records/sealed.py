"""Records that their own digest names, so that nobody changes what a later decision rests on."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mlops_assets.lib.digests import digest_of, short
from mlops_assets.lib.storage.root import ChangedError, Storage


def key(use_case: str, digest: str) -> str:
    """Where the record of a digest lies."""
    return f"{use_case}/records/{digest}.json"


def seal(store: Storage, use_case: str, record: Mapping[str, Any]) -> None:
    """Keep a record under its ``digest``, which is that of everything else in it."""
    store.write_json(key(use_case, record["digest"]), record)


def unseal(store: Storage, use_case: str, digest: str) -> dict[str, Any] | None:
    """The record that a digest names, or None where there is none.

    Raises:
        ChangedError: If what lies there is another one.
    """
    where = key(use_case, digest)
    record = store.read_json(where)
    if record is None:
        return None
    if digest_of({name: value for name, value in record.items() if name != "digest"}) != digest:
        raise ChangedError(f"{store.uri(where)} is not the record {short(digest)} any more")
    return record


def files(store: Storage, use_case: str, digest: str, folder: str) -> Path | None:
    """The folder of what a record describes, or None where record or folder is gone.

    Args:
        store: The storage root.
        use_case: Whose.
        digest: Of a record with ``files``, their digests by name.
        folder: Where they lie.

    Raises:
        ChangedError: If a file is not what the record says.
    """
    record = unseal(store, use_case, digest)
    if record is None or not store.exists(folder):
        return None
    return store.verified_folder(folder, record["files"])
