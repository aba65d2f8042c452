"""What new rows are compared with: the rows that a version was trained on.

The scores among them are out of fold: a model is surer of rows that it has been fitted on, so its
own scores of them would look like drift in every window.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mlops_assets.lib.drift.sides import parquet
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training_set.files import INPUTS, ROWS
from serving.bundle.contract import Contract

SCORES = "predictions.parquet"


class GoneError(Exception):
    """A version has nothing to be compared with; the message says what is gone."""


@dataclass(frozen=True)
class Rows:
    """Relations of the rows that a version was trained on.

    Attributes:
        inputs: The columns of its contract.
        features: What the model saw.
        scores: ``probability``, out of fold.
    """

    inputs: str
    features: str
    scores: str


@dataclass(frozen=True)
class Trained:
    """What the storage knows of the rows that a version was trained on.

    Attributes:
        contract: Of the version's requests.
        features: Names in the order of the model's input.
        profile: ``reference.json`` of the bundle.
        rows: The rows themselves; None where they are gone.
    """

    contract: Contract
    features: list[str]
    profile: Mapping[str, Any]
    rows: Rows | None


def trained(store: Storage, use_case: str, bundle: str) -> Trained:
    """What a version was trained on.

    Args:
        store: Of bundles, training sets and candidates.
        use_case: Its name.
        bundle: Digest of the version's bundle.

    Raises:
        GoneError: If the bundle is not in the storage.
    """
    folder = f"{use_case}/bundles/{bundle}"
    names = ("manifest", "contract", "reference")
    manifest, contract, profile = (store.read_json(f"{folder}/{name}.json") for name in names)
    if manifest is None or contract is None or profile is None:
        raise GoneError(f"the bundle {bundle[:12]} is not in the storage")
    rows = _rows(store, use_case, manifest["lineage"])
    return Trained(Contract.model_validate(contract), manifest["features"], profile, rows)


def _rows(store: Storage, use_case: str, lineage: Mapping[str, Any]) -> Rows | None:
    made_of = f"{use_case}/training_sets/{lineage.get('training_set')}"
    files = [
        f"{made_of}/{INPUTS}",
        f"{made_of}/{ROWS}",
        f"{use_case}/candidates/{lineage.get('candidate')}/{SCORES}",
    ]
    if not all(store.exists(file) for file in files):
        return None
    inputs, features, scores = (parquet(store.local(file)) for file in files)
    train = "where side = 'train'"
    return Rows(
        f"(select i.* from {inputs} i semi join (select row_id from {features} {train}) t "
        "using (row_id))",
        f"(select * from {features} {train})",
        f"(select out_of_fold as probability from {scores} {train} and isfinite(out_of_fold))",
    )
