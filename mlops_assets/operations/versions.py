"""Which version a person means: its number, or the first characters of its bundle's digest."""

from typing import Any

from mlops_assets.lib.records import current
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage

LEAST_CHARACTERS = 4


class UnknownVersionError(ValueError):
    """No version, or several, are meant; the message names those there are."""


def bundle_of(store: Storage, use_case: str, version: str) -> str:
    """The bundle of a version.

    Args:
        store: The storage root.
        use_case: Whose.
        version: The number of a registered version, or four characters or more of a digest.

    Raises:
        UnknownVersionError: If none or several are meant.
    """
    known = numbers(store, use_case)
    by_number = {number: digest for digest, number in known.items()}
    if version in by_number:
        return by_number[version]
    digests = store.list(f"{use_case}/bundles")
    found = [d for d in digests if len(version) >= LEAST_CHARACTERS and d.startswith(version)]
    if len(found) == 1:
        return found[0]
    shown = [f"{known.get(d, 'no number')} ({d[:12]})" for d in found or digests]
    if found:
        raise UnknownVersionError(
            f"{version!r} is the start of {', '.join(shown)}: give more of it"
        )
    there = f"; there are: {', '.join(shown)}" if shown else "; none is registered"
    raise UnknownVersionError(f"{use_case} has no version {version!r}{there}")


def numbers(store: Storage, use_case: str) -> dict[str, str]:
    """The number of each bundle that was registered, as far as the records say."""
    known: dict[str, str] = {
        entry["bundle"]: entry["version"]
        for entry in Ledger(store, use_case).entries()
        if entry.get("bundle") and entry.get("version")
    }
    record: dict[str, Any] | None = current.read(store, use_case, "registered_version")
    return known if record is None else {**known, record["digest"]: record["version"]}
