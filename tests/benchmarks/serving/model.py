"""One model in every form that somebody serves: a bundle, ONNX, and scikit-learn's own object."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import joblib
import pyarrow.parquet as pq

from mlops_assets.lib.records import desired_state
from mlops_assets.lib.storage.root import Storage
from tests.benchmarks.scoring import prepare
from tests.platform import HEART, platform

ROWS = 303  # Cleveland's


@dataclass(frozen=True)
class Model:
    """A trained model and the rows to ask it about.

    Attributes:
        folder: Holds ``storage``, ``model.joblib``, ``model.onnx`` and ``contract.json``.
        rows: As a client of ours sends them.
        features: Of the same rows, in the model's order: what the peers are sent, who then need
            not compute them. Without the few rows that lack one: JSON knows no NaN.
        names: Of the features.
    """

    folder: Path
    rows: list[dict[str, Any]]
    features: list[list[float]]
    names: list[str]

    @property
    def root(self) -> Path:
        """The storage root."""
        return self.folder / "storage"


def make(folder: Path, algorithm: str) -> Model:
    """Train on Cleveland and write every form."""
    with platform(folder) as made:
        estimator, names, digest = prepare(made, algorithm, ROWS)
        columns = [column.name for column in made.spec.contract.inputs]
    bundle = f"{HEART}/bundles/{digest}"
    shutil.move(folder / "bundle", folder / "storage" / bundle)
    role = {"version": "1", "bundle": bundle, "digest": digest, "percent": 100}
    desired_state.write(Storage(folder / "storage"), HEART, "dev", {"champion": role})
    for name in ("model.onnx", "contract.json"):
        shutil.copy(folder / "storage" / bundle / name, folder)
    joblib.dump(estimator, folder / "model.joblib")
    (folder / "names.json").write_text(json.dumps(names))
    rows = pq.read_table(folder / "validated.parquet", columns=columns).to_pylist()
    table = pq.read_table(folder / "features.parquet", columns=names).to_pylist()
    features = [list(row.values()) for row in table if None not in row.values()]
    return Model(folder, rows, features, names)
