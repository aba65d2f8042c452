"""Whether answers are steady: what a little noise, or a value that is missing, does to them.

Rows are changed as a request would give them, and go through the bundle's own feature SQL and ONNX
model. An answer flips when its class at the version's threshold becomes the other one.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.evaluation.intervals import LEVEL, Interval
from mlops_assets.lib.evaluation.score_intervals import share, shared_level
from mlops_assets.lib.spec.gate import Robustness

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

    from serving.bundle.loaded import Bundle

# A whole number moves by at least one where one is little: a tenth of the deviation or less.
LEAST_DEVIATION_OF_WHOLE_NUMBERS = 10.0


@dataclass(frozen=True)
class Flips:
    """What one change did.

    Attributes:
        column: That was changed; empty for all numbers at once.
        rows: Rows that had a value to change.
        flips: How many of them fell into the other class.
        share: Flips of rows, with the interval that holds for all such changes at once.
    """

    column: str
    rows: int
    flips: int
    share: Interval

    def __str__(self) -> str:
        return f"{self.flips} of {self.rows} rows ({self.share.value:.1%})"


@dataclass(frozen=True)
class Steadiness:
    """How steady a bundle answers.

    Attributes:
        rows: Rows that were tried.
        noise: All numbers moved at once; None where the contract has no number that moves.
        noise_by_column: One number moved, the most flips first.
        missing: One nullable column not recorded, the most flips first; without those that no
            row has a value in.
    """

    rows: int
    noise: Flips | None
    noise_by_column: list[Flips]
    missing: list[Flips]

    def problems(self, limits: Robustness) -> list[str]:
        """What is beyond the limits by more than chance."""
        found = []
        if self.noise is not None and self.noise.share.low > limits.noise_flips:
            worst = self.noise_by_column[0]
            found.append(
                f"noise of {limits.noise:.1%} of the deviations flips {self.noise}, the limit is "
                f"{limits.noise_flips:.1%}; the worst column is {worst.column}: {worst}"
            )
        return found + [
            f"without {each.column} {each} flip, the limit is {limits.missing_flips:.1%}"
            for each in self.missing
            if each.share.low > limits.missing_flips
        ]


def steadiness(
    bundle: Bundle, contract: Contract, inputs: Path, limits: Robustness, seed: int
) -> Steadiness:
    """Ask a bundle again with rows that were changed a little.

    Args:
        bundle: Loaded.
        contract: That it was made with.
        inputs: Parquet of the rows of its training set: ``row_id`` and the contract's inputs, in
            the order of a hash, so that the first rows are a sample of both sides.
        limits: How much is changed, and in how many rows.
        seed: Makes the noise repeatable.

    Raises:
        serving.bundle.features.FeatureError: If the feature SQL cannot compute a changed row.
    """
    import numpy as np

    rows = _first(inputs, limits.rows)
    threshold = bundle.manifest.threshold
    before = bundle.predict_table(rows) >= threshold

    def flipped(changed: pa.Table) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = (bundle.predict_table(changed) >= threshold) != before
        return found

    random = np.random.default_rng(seed)
    moved: dict[str, pa.Array] = {}
    for column in contract.inputs:
        if column.type in ("integer", "number"):
            values = _moved(rows[column.name], column, limits.noise, random)
            if values is not None:
                moved[column.name] = values
    level = shared_level(LEVEL, len(moved))
    by_column = []
    for name, values in moved.items():
        had = _recorded(rows[name])
        by_column.append(_flips(name, flipped(_with(rows, {name: values})), had, level))
    nullable = [c.name for c in contract.inputs if c.nullable and _recorded(rows[c.name]).any()]
    level = shared_level(LEVEL, len(nullable))
    missing = []
    for name in nullable:
        had = _recorded(rows[name])
        missing.append(_flips(name, flipped(_with(rows, {name: None})), had, level))
    every = np.ones(rows.num_rows, dtype=bool)
    noise = _flips("", flipped(_with(rows, moved)), every, LEVEL) if moved else None
    return Steadiness(rows.num_rows, noise, _worst_first(by_column), _worst_first(missing))


def _first(inputs: Path, most: int) -> pa.Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with pq.ParquetFile(inputs) as file:
        batches = file.iter_batches(most)
        first = next(batches, None)
        found = [] if first is None else [first]
        return pa.Table.from_batches(found, file.schema_arrow).slice(0, most)


def _moved(
    values: pa.ChunkedArray, column: Column, noise: float, random: np.random.Generator
) -> pa.Array | None:
    """The values with noise, within the contract; None where nothing moves."""
    import numpy as np
    import pyarrow as pa

    had = _recorded(values)
    before = values.to_numpy().astype(np.float64)
    deviation = float(before[had].std()) if had.any() else 0.0
    by = random.normal(size=len(before)) * noise * deviation
    if column.type == "integer":
        away = np.where(by < 0, -1.0, 1.0)
        by = np.rint(by)
        if deviation >= LEAST_DEVIATION_OF_WHOLE_NUMBERS:
            by = np.where(by == 0, away, by)
    least = -np.inf if column.minimum is None else column.minimum
    most = np.inf if column.maximum is None else column.maximum
    after = np.clip(before + by, least, most)
    if not (after[had] != before[had]).any():
        return None
    made = pa.array(after, mask=~had)
    return made.cast(values.type) if column.type == "integer" else made


def _recorded(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    there: NDArray[np.bool_] = values.is_valid().to_numpy()
    return there


def _with(rows: pa.Table, changes: dict[str, Any]) -> pa.Table:
    """The rows with other values in some columns; None leaves a column without any."""
    import pyarrow as pa

    for name, values in changes.items():
        place = rows.schema.get_field_index(name)
        kind = rows.schema.field(name).type
        column = pa.nulls(rows.num_rows, kind) if values is None else values
        rows = rows.set_column(place, name, column)
    return rows


def _flips(name: str, flipped: NDArray[np.bool_], had: NDArray[np.bool_], level: float) -> Flips:
    rows, flips = int(had.sum()), int((flipped & had).sum())
    return Flips(name, rows, flips, share(flips, rows, level))


def _worst_first(found: list[Flips]) -> list[Flips]:
    return sorted(found, key=lambda each: (-each.share.value, each.column))
