"""Brings a champion into another store, with what a challenger is held against.

The store that it comes from is read and never written. What comes along beside the version is the
ledger, since it says who is champion and chains only as a whole.
"""

import shutil

from mlops_assets.lib.bundles.bundle import verify_stored
from mlops_assets.lib.records.history import champion
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.copying import copy_version


class NoChampionError(ValueError):
    """A storage root has no champion of a use case."""


def bring_champion(source: Storage, store: Storage, use_case: str) -> str:
    """Copy the champion of a use case into a store. Done twice, nothing changes.

    Args:
        source: Where it serves.
        store: Has no ledger of its own, or the same one.
        use_case: Whose champion.

    Returns:
        The version and where it serves, in words.

    Raises:
        NoChampionError: If there is none.
        serving.bundle.manifest.BundleError: If its bundle is not what its digest names.
        LedgerError: If the ledger does not hold.
    """
    crowned = champion(Ledger(source, use_case).verify())
    if crowned is None:
        raise NoChampionError(
            f"{source.root} has no champion of {use_case}: "
            "leave --against out, and a first version needs its own checks only"
        )
    manifest = verify_stored(source, crowned["path"], crowned["bundle"])
    _copy_ledger(source, store, use_case)
    copy_version(source, store, use_case, crowned["bundle"], manifest["lineage"])
    Ledger(store, use_case).verify()
    return f"version {crowned['version']} of {source.root}"


def _copy_ledger(source: Storage, store: Storage, use_case: str) -> None:
    for file in source.files(f"{use_case}/ledger"):
        if store.exists(file.key):
            continue
        with (
            source.open(file.key) as content,
            store.writing(file.key) as partial,
            partial.open("wb") as copy,
        ):
            shutil.copyfileobj(content, copy)
