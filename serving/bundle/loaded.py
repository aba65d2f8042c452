"""A loaded bundle: verified, replayed, and ready to answer.

There is no half-loaded state. `Bundle.load` either returns something that reproduced every golden
row on this machine, or raises with the reason.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StrictBool,
    StrictFloat,
    StrictInt,
    StrictStr,
    ValidationError,
)

from serving.bundle import golden
from serving.bundle.background import read_background
from serving.bundle.contract import Contract, Row, read_contract
from serving.bundle.features import FeatureRunner
from serving.bundle.manifest import MANIFEST, BundleError, file_digest, verify
from serving.bundle.model import Model
from serving.bundle.signature import ANYBODY, Trust
from serving.bundle.training_range import TrainingRange, read_training_range


class TargetClass(BaseModel):
    """One of the two outcomes: its value in the data and its name for people."""

    model_config = ConfigDict(frozen=True)

    value: StrictBool | StrictInt | StrictFloat | StrictStr
    label: str


class Classes(BaseModel):
    """The two outcomes."""

    model_config = ConfigDict(frozen=True)

    negative: TargetClass
    positive: TargetClass


class Manifest(BaseModel):
    """What serving reads of `manifest.json`."""

    model_config = ConfigDict(frozen=True)

    use_case: str
    features: Annotated[list[str], Field(min_length=1)]
    threshold: Annotated[float, Field(ge=0, le=1)]
    classes: Classes
    lineage: dict[str, Any]
    versions: dict[str, str] = {}


@dataclass(frozen=True)
class Bundle:
    """A model with everything it needs to answer; safe to use from several threads.

    Attributes:
        digest: The digest that names it, 64 hex characters.
        manifest: Its features, threshold, classes and lineage.
        contract: What a request may hold.
        contract_digest: SHA-256 of the contract: the same for bundles that read rows alike.
        seen: What training saw of each column.
        background: Features of usual rows, float32 `[rows, features]`; older bundles have none.
        golden_rows: How many golden rows were replayed.
    """

    digest: str
    manifest: Manifest
    contract: Contract
    contract_digest: str
    seen: TrainingRange
    background: NDArray[np.float32]
    golden_rows: int
    _features: FeatureRunner
    _model: Model

    @classmethod
    def load(cls, folder: Path, digest: str, use_case: str, trust: Trust = ANYBODY) -> "Bundle":
        """Verify, load and replay a bundle. Takes tens of milliseconds; not for an event loop.

        Args:
            folder: The bundle's folder.
            digest: The digest it must have.
            use_case: The use case it must be for.
            trust: Who must vouch for it.

        Raises:
            BundleError: Nobody trusted vouches for it, it is not what the digest names, is for
                another use case, or does not reproduce its golden rows.
        """
        trust.check(folder, digest)
        manifest = _manifest(verify(folder, digest), folder / MANIFEST)
        contract_path = folder / "contract.json"
        contract = read_contract(contract_path.read_bytes(), str(contract_path))
        for file, found in ((MANIFEST, manifest.use_case), ("contract.json", contract.use_case)):
            if found != use_case:
                where = f"{folder / file}: use case"
                raise BundleError(f"{where}: expected {use_case!r}, found {found!r}")
        features = FeatureRunner(
            _text(folder / "features.sql"), contract.duckdb_types, manifest.features
        )
        model = Model(folder / "model.onnx", manifest.features)
        rows = golden.replay(
            folder / "golden.parquet", contract, manifest.features, features, model
        )
        features.compile(contract.columns, rows)
        reference = folder / "reference.json"
        return cls(
            digest=digest,
            manifest=manifest,
            contract=contract,
            contract_digest=file_digest(contract_path),
            seen=read_training_range(reference, contract),
            background=read_background(reference, len(manifest.features)),
            golden_rows=len(rows),
            _features=features,
            _model=model,
        )

    @property
    def not_compiled(self) -> str | None:
        """Why DuckDB computes the features of every row; None if a compiled function does."""
        return self._features.not_compiled

    def features(self, rows: Sequence[Row]) -> NDArray[np.float32]:
        """Return the features of rows that `contract.validate_row` returned, at least one.

        Returns:
            float32 `[n, features]` in the order of the rows; NaN where a feature is null.

        Raises:
            FeatureError: The feature SQL cannot compute a row.
        """
        return self._features.run(rows)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of the positive class, float64 `[n]`, each from 0 to 1."""
        return self._model.probabilities(features)

    def predict(self, rows: Sequence[Row]) -> NDArray[np.float64]:
        """Return the probability of the positive class for each row; see `features`."""
        return self.probabilities(self.features(rows))

    def predict_table(self, rows: Any) -> NDArray[np.float64]:
        """Return the probability of the positive class for each row of a batch job's table.

        Args:
            rows: A `pyarrow.Table` of rows that keep the contract, at least one, with `row_id`.

        Returns:
            float64 `[n]` in the order of the rows: what `predict` gives for each.

        Raises:
            FeatureError: The feature SQL cannot compute a row.
        """
        return self._model.probabilities(self._features.run_table(rows))

    def classify(self, probability: float) -> TargetClass:
        """Return the class of a probability: positive from the threshold upwards."""
        classes = self.manifest.classes
        return classes.positive if probability >= self.manifest.threshold else classes.negative


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{path}: not UTF-8 text: {error}") from None


def _manifest(content: dict[str, Any], path: Path) -> Manifest:
    try:
        manifest = Manifest.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise BundleError(f"{path}: {where}: {first['msg']}") from None
    if len(set(manifest.features)) != len(manifest.features):
        raise BundleError(f"{path}: features names a feature twice")
    return manifest
