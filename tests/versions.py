"""Versions that differ, made of one that was trained."""

import json
import shutil
from typing import Any

from mlops_assets.lib.bundles.bundle import digest as digest_of_bundle
from tests.platform import Platform


def variant(
    made: Platform,
    number: str,
    threshold: float,
    first: dict[str, Any] | None = None,
    candidate: str | None = None,
) -> dict[str, Any]:
    """A version that answers as the trained one does, but with another threshold.

    Args:
        made: The platform.
        number: Of the version.
        threshold: Its own.
        first: The ledger's entry of the trained one; the first of the ledger.
        candidate: Digest of the candidate that it says it is; that of the trained one.

    Returns:
        What the ledger says of a version.
    """
    first = first or made.ledger.entries()[0]
    scratch = made.home / f"variant-{number}"
    shutil.copytree(made.store.local(first["path"]), scratch)
    manifest = json.loads((scratch / "manifest.json").read_text())
    manifest["threshold"] = threshold
    manifest["lineage"]["candidate"] = candidate or manifest["lineage"]["candidate"]
    (scratch / "manifest.json").write_text(json.dumps(manifest))
    digest = digest_of_bundle(manifest)
    path = f"{made.spec.name}/bundles/{digest}"
    made.store.publish(scratch, path)
    client = made.mlflow.client()
    run = client.get_model_version(made.spec.name, first["version"]).run_id
    registered = client.create_model_version(made.spec.name, path, run, tags={"bundle": digest})
    assert str(registered.version) == number
    return {
        **{name: first[name] for name in ("training_set", "wanted", "batches")},
        "version": number,
        "bundle": digest,
        "path": path,
        "actor": "test",
    }
