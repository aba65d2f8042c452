"""The model card as serving knows it: what a bundle says of itself, and nothing made up."""

from typing import Any

from serving.bundle.loaded import Bundle


def card(bundle: Bundle) -> dict[str, Any]:
    """Tell what a model was made from, what it takes and what it decides.

    What it is meant for and the figures of its evaluation are in the registry's card, under the
    same digest.
    """
    manifest, contract = bundle.manifest, bundle.contract
    lineage = manifest.lineage
    return {
        "algorithm": lineage.get("algorithm"),
        "target": manifest.classes.model_dump(),
        "threshold": manifest.threshold,
        "contract": {
            "version": contract.version,
            "digest": bundle.contract_digest,
            "columns": [
                column.model_dump(exclude={"example", "missing_values"}, exclude_none=True)
                for column in contract.columns
            ],
        },
        "features": len(manifest.features),
        "training_set": lineage.get("training_set"),
        "training_rows": bundle.seen.rows,
        "batches": [batch.get("key") for batch in lineage.get("batches", [])],
        "evaluation": lineage.get("evaluation"),
        "libraries": manifest.versions,
        "golden_rows": bundle.golden_rows,
        "explains": len(bundle.background) > 0,
    }
