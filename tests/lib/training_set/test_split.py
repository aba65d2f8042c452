"""Which side a row is on, where a contract says what the row is about and when it happened."""

from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.training_set.assemble import Summary, assemble
from mlops_assets.lib.training_set.files import GROUP, INPUTS, ROWS, TIME, Source
from mlops_assets.lib.training_set.rows import read_rows
from tests.lib.helpers import column, contract

START = datetime(2025, 1, 1)
COLUMNS = (column("who", "integer"), column("at", "timestamp"), column("a"), column("b", "integer"))
EVENTS = contract(*COLUMNS, entity="who", event_time="at")
KEYED = contract(*COLUMNS, key=["who"], event_time="at")
BY_HASH = Split(test_fraction=0.5)
# Who, day, input, outcome.
Event = tuple[int, int, int, int]


def batch(folder: Path, key: str, events: list[Event], **more: Any) -> Source:
    ids = [f"{key}-{number}" for number in range(1, len(events) + 1)]
    valid = pl.DataFrame(
        {
            "row_id": ids,
            "who": [who for who, *_ in events],
            "at": [START + timedelta(days=day) for _, day, *_ in events],
            "a": [value / 8 for *_, value, _ in events],
            "b": [value % 3 for *_, value, _ in events],
            "c": [value % 5 for *_, value, _ in events],
            "outcome": [outcome for *_, outcome in events],
        },
        schema_overrides={"who": pl.Int64, "a": pl.Float64, "b": pl.Int64, "at": pl.Datetime("us")},
    )
    found = Source(key, folder / f"{key}-f.parquet", folder / f"{key}-v.parquet", **more)
    valid.write_parquet(found.validated)
    valid.select("row_id", pl.col("a").cast(pl.Float32).alias("f")).write_parquet(found.features)
    return found


def made(
    folder: Path, *batches: list[Event], agreed: Contract = EVENTS, split: Split = BY_HASH
) -> tuple[Summary, pl.DataFrame]:
    """The rows of a training set, with their identifiers and inputs."""
    sources = [batch(folder, f"k{n}", events) for n, events in enumerate(batches)]
    summary = assemble(sources, agreed, split, folder)
    valid = pl.concat([pl.read_parquet(s.validated) for s in sources])
    return summary, pl.read_parquet(folder / ROWS).join(valid, on="row_id", maintain_order="left")


def drawn(rows: int, people: int, days: int, seed: int = 0, first: int = 0) -> list[Event]:
    random = np.random.default_rng(seed)
    who, day = random.integers(0, people, rows), random.integers(first, first + days, rows)
    values, outcomes = random.integers(0, 400, rows), random.integers(0, 2, rows)
    return [tuple(map(int, event)) for event in zip(who, day, values, outcomes, strict=True)]  # type: ignore[misc]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("split")


EVENT = st.tuples(st.integers(0, 6), st.integers(0, 6), st.integers(0, 9), st.integers(0, 1))
BATCHES = st.lists(st.lists(EVENT, min_size=1, max_size=12), min_size=2, max_size=3)


@given(BATCHES)
@settings(deadline=None, derandomize=True, max_examples=10)
def test_entity_is_on_one_side_and_stays_there(folder: Path, batches: list[list[Event]]) -> None:
    _, before = made(folder, *batches[:-1])
    summary, after = made(folder, *batches)
    sides = after.group_by("who").agg(pl.col("side").n_unique(), pl.col(GROUP).n_unique())
    assert set(sides["side"]) == set(sides[GROUP]) == {1}
    assert after[GROUP].n_unique() == after["who"].n_unique()
    assert summary.straddling_entities == 0
    stay = before.join(after, on="row_id", suffix="_after")
    assert stay.height == before.height
    assert stay["side"].to_list() == stay["side_after"].to_list()


@given(st.lists(EVENT, min_size=5, max_size=40), st.sampled_from([0.2, 0.5]), st.integers(0, 2))
@settings(deadline=None, derandomize=True, max_examples=15)
def test_split_by_time_tests_on_the_newest_rows(
    folder: Path, events: list[Event], fraction: float, gap: int
) -> None:
    for kept in ("separate", "shared"):
        split = Split(kind="time", test_fraction=fraction, gap_days=gap, entity=kept)
        summary, rows = made(folder, events, split=split)
        train, test = (rows.filter(pl.col("side") == side) for side in ("train", "test"))
        assert summary.cutoff == test["at"].min()
        assert test.height >= fraction * len(set(events))
        newest = {event for event in events if START + timedelta(days=event[1]) >= test["at"].min()}  # type: ignore[operator]
        assert test.height == len(newest)
        if train.height:
            assert train["at"].max() < test["at"].min() - timedelta(days=gap)  # type: ignore[operator]
            assert summary.latest_train == train["at"].max()
        if kept == "separate":
            assert not set(train["who"]) & set(test["who"])
        left = len(set(events)) - rows.height
        assert left == summary.in_gap + summary.of_test_entities
        assert kept == "separate" or summary.of_test_entities == 0


@pytest.mark.parametrize(
    ("agreed", "split"),
    [
        (EVENTS, BY_HASH),
        (contract(*COLUMNS[:1], *COLUMNS[2:], key=["who"]), BY_HASH),
        (contract(*COLUMNS[2:]), Split(test_fraction=0.5, by=["b"])),
    ],
    ids=["entity", "key", "by"],
)
def test_column_that_is_added_does_not_draw_the_split_anew(
    folder: Path, agreed: Contract, split: Split
) -> None:
    more = Contract.model_validate(
        {**agreed.model_dump(), "columns": [*agreed.columns, column("c", "integer")]}
    )
    _, before = made(folder, drawn(200, 60, 30), agreed=agreed, split=split)
    _, after = made(folder, drawn(200, 60, 30), agreed=more, split=split)
    assert dict(before.select("row_id", "side").iter_rows()) == dict(
        after.select("row_id", "side").iter_rows()
    )
    assert set(before["side"]) == {"train", "test"}


def test_split_by_columns_wins_over_the_entity(folder: Path) -> None:
    split = Split(test_fraction=0.5, by=["c"])
    agreed = contract(*COLUMNS, column("c", "integer"), entity="who")
    summary, rows = made(folder, drawn(300, 20, 30), agreed=agreed, split=split)
    assert set(rows.group_by("c").agg(pl.col("side").n_unique())["side"]) == {1}
    both = rows.group_by("who").agg(pl.col("side").n_unique()).filter(pl.col("side") == 2)
    assert summary.straddling_entities == both.height > 0


def test_later_row_of_a_key_replaces_the_earlier(folder: Path) -> None:
    one: list[Event] = [(1, 0, 10, 0), (2, 0, 20, 0), (3, 0, 30, 1), (2, 1, 21, 0)]
    two: list[Event] = [(2, 2, 22, 1), (4, 2, 40, 1)]
    summary, rows = made(folder, one, two, agreed=KEYED)
    assert sorted(rows["row_id"]) == ["k0-1", "k0-3", "k1-1", "k1-2"]
    assert (summary.replaced, summary.repeated) == (2, 0)


def test_equal_rows_of_two_entities_are_two_rows(folder: Path) -> None:
    events: list[Event] = [(who, 0, 5, 1) for who in range(40)]
    summary, rows = made(folder, events, events)
    assert rows.height == 40
    assert summary.repeated == 40
    # Their inputs are equal, on whichever side their entity is.
    assert (summary.straddling, summary.equal_inputs) == (1, summary.test)


def test_event_after_its_batch_landed_is_counted(folder: Path) -> None:
    events: list[Event] = [(n, n, n, n % 2) for n in range(10)]
    landed = START + timedelta(days=5)
    summary = assemble([batch(folder, "k", events, landed=landed)], EVENTS, BY_HASH, folder)
    # One day is forgiven: local times are read as UTC.
    assert summary.late == 3


def test_feature_cannot_be_called_as_what_binds_rows(folder: Path) -> None:
    source = batch(folder, "k", drawn(5, 2, 2))
    table = pl.read_parquet(source.features)
    table.rename({"f": "event_time"}).write_parquet(source.features)
    with pytest.raises(ValueError, match="a feature cannot be called event_time"):
        assemble([source], EVENTS, BY_HASH, folder)


@pytest.mark.parametrize(
    ("split", "tied"),
    [
        (BY_HASH, [GROUP]),
        (Split(kind="time", gap_days=1), [GROUP, TIME]),
        (Split(kind="time", entity="shared"), [TIME]),
    ],
)
def test_rows_are_read_with_the_training_side_first(
    folder: Path, split: Split, tied: list[str]
) -> None:
    summary, table = made(folder, drawn(300, 100, 30), split=split)
    assert summary.tied == tied
    rows = read_rows(folder, ["f"], split)
    assert rows.features.dtype == np.float32
    assert (rows.train, len(rows.features)) == (summary.train, table.height)
    np.testing.assert_array_equal(rows.features[rows.place, 0], table["f"])
    np.testing.assert_array_equal(rows.target[rows.place], table["target"])
    train = table.filter(pl.col("side") == "train")
    np.testing.assert_array_equal(rows.target[: rows.train], train["target"])
    assert (rows.ties.group is not None) == (GROUP in tied)
    assert (rows.ties.time is not None) == (TIME in tied)
    if rows.ties.time is not None:
        np.testing.assert_array_equal(rows.ties.time, train["at"].dt.epoch("us"))
        assert rows.ties.gap == split.gap_days * 86_400e6


def test_more_rows_than_memory_holds_are_assembled_all_the_same(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlops_assets.lib.training_set.assemble.MEMORY", "60MB")
    summary, rows = made(folder, drawn(60_000, 20_000, 900))
    assert rows.height == summary.train + summary.test
    assert pl.read_parquet(folder / INPUTS)["row_id"].to_list() == rows["row_id"].to_list()
    assert not list(folder.glob(".spill-*"))
