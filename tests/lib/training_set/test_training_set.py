import hashlib
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.training_set.assemble import Summary, assemble
from mlops_assets.lib.training_set.files import INPUTS, KEYS, ROWS, Source
from tests.lib.helpers import column, contract

AGREED = contract(column("a", nullable=True), column("b", "integer"))
KEEP = contract(column("a", nullable=True), column("b", "integer"), duplicates="keep")
HALF = Split(test_fraction=0.5)
Row = tuple[float | None, int, int]


def source(
    folder: Path, key: str, rows: Sequence[Row], features: Sequence[str] = ("a", "twice")
) -> Source:
    """Write the files of an accepted batch: `a`, `b`, the outcome, and features made of `a`."""
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{key}-{number}" for number in range(1, len(rows) + 1)]
    valid = pl.DataFrame(
        {
            "row_id": ids,
            "a": [a for a, _, _ in rows],
            "b": [b for _, b, _ in rows],
            "outcome": [outcome for *_, outcome in rows],
        },
        schema={"row_id": pl.String, "a": pl.Float64, "b": pl.Int64, "outcome": pl.Int64},
    )
    made = valid.select("row_id", *(pl.col("a").cast(pl.Float32).alias(f) for f in features))
    found = Source(key, folder / f"{key}-features.parquet", folder / f"{key}-validated.parquet")
    valid.write_parquet(found.validated)
    made.write_parquet(found.features)
    return found


def made(
    folder: Path, *batches: Sequence[Row], agreed: Contract = AGREED, split: Split = HALF
) -> tuple[Summary, pl.DataFrame]:
    """Assemble batches called k0, k1, … and read the rows."""
    folder.mkdir(parents=True, exist_ok=True)
    sources = [source(folder, f"k{n}", rows) for n, rows in enumerate(batches)]
    summary = assemble(sources, agreed, split, folder)
    return summary, pl.read_parquet(folder / ROWS, glob=False)


def numbered(count: int, start: int = 0) -> list[Row]:
    return [(n / 7, n, n % 2) for n in range(start, start + count)]


def test_rows_hold_ids_batch_side_target_and_features(tmp_path: Path) -> None:
    summary, rows = made(tmp_path, [(1.5, 1, 1), (None, 2, 0)], [(2.5, 3, 1)])
    assert rows.columns == [*KEYS, "a", "twice"]
    assert summary.features == ["a", "twice"]
    by_id = {row["row_id"]: row for row in rows.to_dicts()}
    assert {i: (r["batch"], r["target"], r["a"]) for i, r in by_id.items()} == {
        "k0-1": ("k0", 1, 1.5),
        "k0-2": ("k0", 0, None),
        "k1-1": ("k1", 1, 2.5),
    }
    inputs = pl.read_parquet(tmp_path / INPUTS)
    assert inputs.columns == ["row_id", "a", "b"]
    assert inputs["row_id"].to_list() == rows["row_id"].to_list()


def test_counts_are_those_of_the_rows(tmp_path: Path) -> None:
    summary, rows = made(tmp_path, numbered(200), numbered(150, start=100))
    sides = rows["side"].to_list()
    assert (summary.train, summary.test) == (sides.count("train"), sides.count("test"))
    assert summary.train + summary.test == 250
    assert summary.repeated == 100
    train = rows.filter(pl.col("side") == "train")
    test = rows.filter(pl.col("side") == "test")
    assert summary.train_positives == train["target"].sum()
    assert summary.test_positives == test["target"].sum()
    assert summary.straddling == 0


def side(row: Row, split: Split) -> str:
    """The side of a row, worked out without DuckDB."""
    a, b, _ = row
    content = f'{{"a":{"null" if a is None else a},"b":{b}}}'
    digest = hashlib.sha256(f"{split.salt}|{content}".encode()).hexdigest()
    return "test" if int(digest[:12], 16) / 2**48 < split.test_fraction else "train"


def test_side_follows_from_the_hash_of_the_inputs_and_the_salt(tmp_path: Path) -> None:
    # Pinned: another way of writing a number, in a new DuckDB, would move rows across the split.
    rows: list[Row] = [(n / 7, n, n % 2) for n in range(100)]
    rows += [(None, 1, 1), (0.1 + 0.2, -5, 0), (12345678.9, 2**53 + 1, 1), (2.0, 0, 1)]
    for split in (Split(test_fraction=0.3, salt="one"), Split(test_fraction=0.6, salt="ü|two")):
        _, found = made(tmp_path, rows, split=split)
        sides = dict(zip(found["row_id"], found["side"], strict=True))
        assert sides == {f"k0-{n}": side(row, split) for n, row in enumerate(rows, start=1)}
        assert set(sides.values()) == {"train", "test"}


def test_salt_draws_another_split(tmp_path: Path) -> None:
    one = made(tmp_path, numbered(200), split=Split(test_fraction=0.5, salt="one"))[1]
    two = made(tmp_path, numbered(200), split=Split(test_fraction=0.5, salt="two"))[1]
    sides = one.join(two, on="row_id")
    moved = (sides["side"] != sides["side_right"]).sum()
    assert 70 <= moved <= 130


@pytest.mark.parametrize("fraction", [0.1, 0.2, 0.5])
def test_share_of_test_rows_is_near_the_fraction(tmp_path: Path, fraction: float) -> None:
    summary, _ = made(tmp_path, numbered(5000), split=Split(test_fraction=fraction))
    assert summary.train + summary.test == 5000
    deviation = math.sqrt(fraction * (1 - fraction) / 5000)
    assert abs(summary.test / 5000 - fraction) < 3 * deviation


ROW = st.tuples(st.none() | st.integers(0, 3).map(float), st.integers(0, 3), st.integers(0, 1))
BATCHES = st.lists(st.lists(ROW, max_size=8), min_size=1, max_size=4)


@given(BATCHES, st.integers(1, 4), st.sampled_from([AGREED, KEEP]))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_more_batches_never_move_a_row(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[Row]],
    first: int,
    agreed: Contract,
) -> None:
    folder = tmp_path_factory.getbasetemp() / "growing"
    _, before = made(folder, *batches[:first], agreed=agreed)
    summary, after = made(folder, *batches, agreed=agreed)

    def as_rows(table: pl.DataFrame) -> dict[str, tuple[Any, ...]]:
        return {row[0]: row for row in table.iter_rows()}

    assert as_rows(before).items() <= as_rows(after).items()
    inputs = pl.read_parquet(folder / INPUTS)
    sides = after.join(inputs, on="row_id").group_by("a_right", "b").agg(pl.col("side").n_unique())
    assert set(sides["side"]) <= {1}
    assert summary.straddling == 0

    every = [row for batch in batches for row in batch]
    kept = len(every) if agreed is KEEP else len(set(every))
    assert after.height == kept
    assert summary.repeated == len(every) - kept


def test_row_counts_once_and_for_the_batch_that_landed_first(tmp_path: Path) -> None:
    # The keys are in the other order than the landing.
    late, early = [(1.0, 1, 1), (2.0, 2, 0)], [(2.0, 2, 0), (2.0, 2, 1)]
    sources = [source(tmp_path, "z", early), source(tmp_path, "a", late)]
    summary = assemble(sources, AGREED, HALF, tmp_path)
    rows = pl.read_parquet(tmp_path / ROWS)
    assert sorted(rows["row_id"]) == ["a-1", "z-1", "z-2"]
    assert summary.repeated == 1


def test_equal_inputs_with_different_outcomes_share_a_side(tmp_path: Path) -> None:
    rows: list[Row] = [(n / 7, n, outcome) for n in range(50) for outcome in (0, 1)]
    summary, found = made(tmp_path, rows)
    inputs = pl.read_parquet(tmp_path / INPUTS)
    assert found.height == 100
    assert summary.straddling == 0
    sides = found.join(inputs, on="row_id").group_by("b").agg(pl.col("side").n_unique())
    assert sides["side"].to_list() == [1] * 50


def test_outcome_is_one_for_the_positive_value(tmp_path: Path) -> None:
    words = contract(column("a"), column("b", "integer"))
    words = Contract.model_validate(
        {**words.model_dump(), "target": {"column": "outcome", "positive": 0, "negative": 1}}
    )
    _, rows = made(tmp_path, [(1.0, 1, 0), (2.0, 2, 1)], agreed=words)
    assert dict(zip(rows["row_id"], rows["target"], strict=True)) == {"k0-1": 1, "k0-2": 0}


def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    batches = [numbered(3000), numbered(3000, start=2000)]
    for run in ("one", "two"):
        made(tmp_path / run, *batches)
    for name in (ROWS, INPUTS):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


@pytest.mark.parametrize("name", ["it's here", "[brackets]", "a*b?c", 'double " quote', "é ☃"])
def test_folder_may_have_an_awkward_name(tmp_path: Path, name: str) -> None:
    # Beside others that a pattern made of the name would find.
    made(tmp_path / "b", numbered(3, start=50))
    made(tmp_path / "axbxc", numbered(3, start=50))
    summary, rows = made(tmp_path / name, numbered(10))
    assert (rows.height, summary.repeated) == (10, 0)


def test_other_feature_columns_are_refused(tmp_path: Path) -> None:
    for features in (("a",), ("twice", "a"), ("a", "twice", "more")):
        sources = [
            source(tmp_path, "one", numbered(3)),
            source(tmp_path, "two", numbered(3), features),
        ]
        with pytest.raises(ValueError, match=r"batch two: its features are .*, not \['a', 't"):
            assemble(sources, AGREED, HALF, tmp_path)


@pytest.mark.parametrize("name", ["side", "target", "batch", "Batch"])
def test_feature_named_as_a_column_of_the_training_set_is_refused(
    tmp_path: Path, name: str
) -> None:
    sources = [source(tmp_path, "one", numbered(3), ("a", name))]
    with pytest.raises(ValueError, match=f"batch one: a feature cannot be called {name.lower()}"):
        assemble(sources, AGREED, HALF, tmp_path)


def test_features_without_row_id_are_refused(tmp_path: Path) -> None:
    broken = source(tmp_path, "one", numbered(3))
    pl.DataFrame({"a": [1.0]}).write_parquet(broken.features)
    with pytest.raises(ValueError, match="batch one: its features have no row_id"):
        assemble([broken], AGREED, HALF, tmp_path)


def test_no_batch_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a training set needs at least one batch"):
        assemble([], AGREED, HALF, tmp_path)


def test_input_may_have_the_name_of_any_column_of_the_training_set(tmp_path: Path) -> None:
    agreed = contract(column("side"), column("batch", "integer"), column("input_hash", "text"))
    valid = pl.DataFrame(
        {
            "row_id": ["x-1", "x-2"],
            "side": [1.0, 2.0],
            "batch": [1, 2],
            "input_hash": ["p", "q"],
            "outcome": [1, 0],
        }
    )
    found = Source("x", tmp_path / "f.parquet", tmp_path / "v.parquet")
    valid.write_parquet(found.validated)
    valid.select("row_id", pl.col("side").alias("f")).write_parquet(found.features)
    summary = assemble([found], agreed, HALF, tmp_path)
    assert summary.straddling == 0
    assert pl.read_parquet(tmp_path / INPUTS).columns == ["row_id", "side", "batch", "input_hash"]


def test_equal_inputs_on_both_sides_are_counted(tmp_path: Path) -> None:
    # 0.0 and -0.0 are equal and are written differently, so their hashes differ. Validation writes
    # 0.0 only; files that did not come from it may hold both.
    rows: list[Row] = [row for n in range(40) for row in ((0.0, n, 1), (-0.0, n, 1))]
    summary, found = made(tmp_path, rows)
    sides = found.join(pl.read_parquet(tmp_path / INPUTS), on="row_id")
    both = sides.group_by("b").agg(pl.col("side").n_unique()).filter(pl.col("side") == 2).height
    assert both > 10
    assert summary.straddling == both
