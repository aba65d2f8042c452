"""What there is by digest, with its lineage in both directions, and as a file."""

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pytest

from mlops_assets.operations.catalogue import Catalogue, Named, UnknownDataError, as_text
from tests.disk import fill
from tests.platform import DATA, HEART, Platform, platform
from tests.test_cli import mlops


@pytest.fixture
def made(trained: Platform, tmp_path: Path) -> Iterator[Platform]:
    shutil.copytree(trained.home / "storage", tmp_path / "storage")
    with platform(tmp_path) as copy:
        yield copy


@pytest.fixture
def catalogue(made: Platform) -> Catalogue:
    return Catalogue(made.store, made.spec, {made.batches.keys()[0]: "accepted"})


def test_everything_is_listed_with_digest_rows_time_and_state(made: Platform) -> None:
    made.land(DATA / "heart_hungarian.csv")
    key = made.batches.keys()[0]
    made.ledger.append("withdrawn", {"batch": key, "actor": "ann", "reasons": ["r"]})
    done = mlops(made.home, "data", "list", HEART, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert [b["state"] for b in found["batches"]] == ["withdrawn", "outstanding"]
    assert [b["rows"] for b in found["batches"]] == [303, None]
    (training_set,), (bundle,) = found["training_sets"], found["bundles"]
    assert (training_set["rows"], bundle["rows"]) == (303, 303)
    assert (bundle["version"], bundle["state"]) == ("1", "approved")
    assert all(each["when"] for kind in found.values() for each in kind)
    assert f"{bundle['digest'][:12]}  version 1  303 rows" in as_text(found)


def test_lineage_is_shown_both_ways(made: Platform, catalogue: Catalogue) -> None:
    (key,) = made.batches.keys()
    (training_set,) = made.store.list(f"{HEART}/training_sets")
    (bundle,) = made.store.list(f"{HEART}/bundles")
    batch = catalogue.show(key[:10])
    assert batch["state"] == "accepted"
    assert batch["used_by"] == [f"training set {training_set}", f"version 1 (bundle {bundle})"]
    middle = catalogue.show(training_set[:12])
    assert middle["made_of"] == [f"batch {key}: 303 rows"]
    assert middle["used_by"] == [f"version 1 (bundle {bundle})"]
    version = catalogue.show(bundle)
    assert version["made_of"] == [f"training set {training_set}", f"batch {key}"]
    assert version["used_by"] == ["entry 1 of the ledger: approved"]
    said = mlops(made.home, "data", "show", HEART, bundle[:12]).stdout
    assert f"training set {training_set}\n" in said


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_are_exported(made: Platform, catalogue: Catalogue, suffix: str) -> None:
    (key,) = made.batches.keys()
    file = made.home / f"rows{suffix}"
    read = pl.read_csv if suffix == ".csv" else pl.read_parquet
    done = mlops(made.home, "data", "export", HEART, key, "--to", str(file))
    assert done.stdout == f"303 rows in {file}\n", done.stderr
    assert read(file)["row_id"].n_unique() == 303
    features = made.batches.pointer(key, "features") or {}
    assert catalogue.export(features["digest"][:10], file, None) == 303
    assert len(read(file).columns) == 29
    (training_set,) = made.store.list(f"{HEART}/training_sets")
    assert catalogue.export(training_set, file, None) == 303
    assert "side" in read(file).columns
    assert [p.name for p in made.home.iterdir() if p.name.startswith(".")] == []


def test_what_is_meant_must_be_clear(made: Platform, catalogue: Catalogue) -> None:
    made.land("age\n1\n", "heart-cleveland.csv")
    first, second = sorted(made.batches.keys())
    with pytest.raises(UnknownDataError, match=f"batch {first}, batch {second}: give more"):
        catalogue.find("heart-cleveland-")
    assert catalogue.find(second) == Named("batch", second)
    with pytest.raises(UnknownDataError, match="no batch, training set or bundle 'nothing'"):
        catalogue.find("nothing")
    unread = next(r.key for r in made.batches.receipts() if r.size < 100)
    with pytest.raises(UnknownDataError, match="has no validated rows"):
        catalogue.export(unread, made.home / "rows.csv", None)
    with pytest.raises(UnknownDataError, match="is a folder of a model"):
        catalogue.export(made.store.list(f"{HEART}/bundles")[0], made.home / "rows.csv", None)
    done = mlops(made.home, "data", "export", HEART, first, "--to", str(made.home / "rows.xlsx"))
    assert done.returncode == 1
    assert "rows.xlsx: a file ends in .parquet or .csv" in done.stderr


def test_an_export_without_room_is_one_line_and_leaves_nothing(made: Platform, disk: Path) -> None:
    (training_set,) = made.store.list(f"{HEART}/training_sets")
    nowhere = disk / "nope" / "rows.parquet"
    done = mlops(made.home, "data", "export", HEART, training_set, "--to", str(nowhere))
    assert (done.returncode, done.stderr) == (
        1,
        f"mlops: {nowhere}: there is no folder {nowhere.parent}\n",
    )
    ballast = fill(disk)
    for suffix in (".parquet", ".csv"):
        file = disk / f"rows{suffix}"
        done = mlops(made.home, "data", "export", HEART, training_set, "--to", str(file))
        assert done.returncode == 1
        assert re.fullmatch(rf"mlops: {file}: .*No space left on device.*\n", done.stderr)
    assert list(disk.iterdir()) == [ballast]
