"""Batch scores are the serving app's numbers, and a kill costs the part that was at work."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import duckdb
import numpy as np
import polars as pl
import pytest

from mlops_assets.lib.bundles.scoring import missing_columns, score
from mlops_assets.lib.storage.root import Storage
from serving.bundle.features import FeatureError
from serving.bundle.loaded import Bundle
from tests.serving.bundles import CONTRACT, ROWS, USE_CASE, Built, make_bundle
from tests.serving.server import clean_environment

GROUP_ROWS = 2048
FOLDER = f"{USE_CASE}/predictions/one"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    return make_bundle(tmp_path_factory.mktemp("root"))


@pytest.fixture(scope="module")
def bundle(built: Built) -> Bundle:
    return Bundle.load(built.folder, built.digest, USE_CASE)


def write_rows(bundle: Bundle, path: Path, count: int) -> list[dict[str, object]]:
    """Valid rows as ``validated`` has them, in groups of 2048; what they hold, as requests do."""
    rows = [bundle.contract.validate_row(row) for row in ROWS]
    types = [("row_id", "VARCHAR"), *bundle.contract.duckdb_types.items()]
    frame = pl.DataFrame(
        [{"row_id": f"b-{n}", **row} for n, row in enumerate(rows)], infer_schema_length=None
    )
    with duckdb.connect() as database:
        database.register("frame", frame.to_arrow())
        columns = ", ".join(f"{name}::{kind} as {name}" for name, kind in types[1:])
        database.execute(
            f"copy (select 'b-' || n as row_id, {columns} from range({count}) t(n) "
            f"join frame f on f.row_id = 'b-' || (n % {len(rows)}) order by n) "
            f"to '{path}' (format parquet, row_group_size {GROUP_ROWS})"
        )
    return rows


def test_the_scores_are_those_of_single_requests(
    built: Built, bundle: Bundle, tmp_path: Path
) -> None:
    rows = write_rows(bundle, tmp_path / "rows.parquet", 5000)
    store = Storage(tmp_path)
    scores = score(bundle, "7", tmp_path / "rows.parquet", store, FOLDER)
    found = pl.concat(
        pl.read_parquet(store.verified(f"{FOLDER}/{name}", digest))
        for name, digest in scores.parts.items()
    )
    assert found["row_id"].to_list() == [f"b-{n}" for n in range(5000)]
    expected = bundle.predict(rows)
    # ONNX Runtime adds up many rows in another order than one: the last bits of a float32 differ.
    assert np.abs(found["probability"].to_numpy() - np.resize(expected, 5000)).max() <= 1e-6
    assert found["label"].to_list() == [int(p >= 0.5) for p in found["probability"]]
    assert found["version"].unique().to_list() == ["7"]
    assert found["bundle"].unique().to_list() == [built.digest]
    assert (scores.rows, scores.found, len(scores.parts)) == (5000, 0, 3)
    assert scores.positives == found["label"].sum()
    # Once more: nothing is computed, and it is the same.
    again = score(bundle, "7", tmp_path / "rows.parquet", store, FOLDER)
    assert (again.digest, again.found) == (scores.digest, 3)


WORK = """
import sys
from pathlib import Path
from mlops_assets.lib.bundles.scoring import score
from mlops_assets.lib.storage.root import Storage
from serving.bundle.loaded import Bundle
from tests.serving.bundles import USE_CASE
bundle, digest, root, folder = sys.argv[1:]
score(Bundle.load(Path(bundle), digest, USE_CASE), "7", Path(root) / "rows.parquet",
      Storage(Path(root)), folder)
"""


def test_a_killed_run_goes_on_where_it_stopped(
    built: Built, bundle: Bundle, tmp_path: Path
) -> None:
    write_rows(bundle, tmp_path / "rows.parquet", 100_000)
    store = Storage(tmp_path)
    command = [sys.executable, "-W", "ignore", "-c", WORK, str(built.folder), built.digest]
    process = subprocess.Popen([*command, str(tmp_path), FOLDER], env=clean_environment())
    while not any(name.endswith(".json") for name in store.list(FOLDER)):
        assert process.poll() is None
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.wait()
    finished = [name for name in store.list(FOLDER) if name.endswith(".json")]
    before = {name: store.local(f"{FOLDER}/{name}").stat().st_mtime_ns for name in finished}
    assert 0 < len(finished) < 49

    scores = score(bundle, "7", tmp_path / "rows.parquet", store, FOLDER)
    assert scores.found == len(finished)
    assert scores.rows == 100_000
    assert before == {n: store.local(f"{FOLDER}/{n}").stat().st_mtime_ns for n in finished}
    undisturbed = score(bundle, "7", tmp_path / "rows.parquet", store, f"{FOLDER}-other")
    assert undisturbed.digest == scores.digest
    for name, digest in scores.parts.items():
        store.verified(f"{FOLDER}/{name}", digest)


def test_a_row_that_cannot_be_computed_publishes_nothing(bundle: Bundle, tmp_path: Path) -> None:
    write_rows(bundle, tmp_path / "good.parquet", 10)
    broken = pl.read_parquet(tmp_path / "good.parquet").with_columns(oldpeak=pl.lit(1e300))
    broken.write_parquet(tmp_path / "rows.parquet")
    store = Storage(tmp_path)
    with pytest.raises(FeatureError):
        score(bundle, "7", tmp_path / "rows.parquet", store, FOLDER)
    assert store.list(FOLDER) == []


def test_columns_that_the_rows_do_not_have_are_named(bundle: Bundle, tmp_path: Path) -> None:
    names = [column["name"] for column in CONTRACT["columns"]]
    pl.DataFrame({"row_id": ["b-0"], **{name: [0] for name in names[2:]}}).write_parquet(
        tmp_path / "rows.parquet"
    )
    assert missing_columns(bundle, tmp_path / "rows.parquet") == names[:2]


def test_a_batch_without_rows_has_no_parts(bundle: Bundle, tmp_path: Path) -> None:
    write_rows(bundle, tmp_path / "rows.parquet", 0)
    scores = score(bundle, "7", tmp_path / "rows.parquet", Storage(tmp_path), FOLDER)
    assert (scores.rows, scores.parts) == (0, {})
