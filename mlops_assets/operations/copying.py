"""Copies a version from one storage root into another, with all that a contest reads of it.

What comes along is what the bundle names: its evaluation, its recipe, its candidate with the
out-of-fold scores, and the rows that it was trained on. Batches stay where they landed. Objects are
named by their digests, so a copy is either the same or none, and half of one is finished.
"""

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

from mlops_assets.lib.records import recipe, sealed
from mlops_assets.lib.storage.root import Storage
from mlops_assets.stages import candidates, registered_version, training_set
from serving.bundle.manifest import BundleError

_DIGEST = re.compile("[0-9a-f]{64}")


def copy_version(
    source: Storage, store: Storage, use_case: str, bundle: str, lineage: Mapping[str, Any]
) -> None:
    """Copy a version. Done twice, nothing changes; what is gone at the source is left out.

    Args:
        source: Is read and never written.
        store: Where it is wanted.
        use_case: Whose version.
        bundle: Digest of its bundle, which was verified.
        lineage: Of its manifest.

    Raises:
        BundleError: If the lineage names something by what is no digest; nothing is copied then.
    """
    for key in list(_keys(use_case, bundle, lineage)):
        if source.exists(key):
            _copy(source, store, key)


def _keys(use_case: str, bundle: str, lineage: Mapping[str, Any]) -> Iterator[str]:
    named = {"bundle": bundle} | {
        name: lineage[name]
        for name in ("evaluation", "candidate", "training_set", "recipe")
        if name in lineage
    }
    for name, digest in named.items():
        # It becomes part of a path: nothing but a digest may say where something is written.
        if not (isinstance(digest, str) and _DIGEST.fullmatch(digest)):
            raise BundleError(f"the {name} of bundle {bundle[:12]} is no digest: {digest!r:.80}")
    yield f"{use_case}/evaluations/{lineage['evaluation']}.json"
    if "recipe" in lineage:
        yield recipe.key(use_case, lineage["recipe"])
    yield candidates.folder(use_case, lineage["candidate"])
    yield sealed.key(use_case, lineage["candidate"])
    yield training_set.folder(use_case, lineage["training_set"])
    yield sealed.key(use_case, lineage["training_set"])
    # Last: whoever sees the bundle finds what it is made of.
    yield registered_version.folder(use_case, bundle)


def _copy(source: Storage, store: Storage, key: str) -> None:
    local = source.local(key)
    with store.writing(key) as partial:
        if local.is_dir():
            shutil.copytree(local, partial, copy_function=shutil.copyfile)
            # New here, however old it is there: what is old and in no decision is pruned.
            os.utime(partial)
        else:
            shutil.copyfile(local, partial)
