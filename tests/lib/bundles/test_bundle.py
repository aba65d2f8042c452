import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlops_assets.lib.bundles import bundle
from mlops_assets.lib.bundles.bundle import BACKGROUND_ROWS, GOLDEN_ROWS
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.training_set.files import INPUTS, ROWS
from serving.bundle.loaded import Bundle
from serving.bundle.manifest import BUNDLE_FILES, MANIFEST, BundleError, verify
from tests.lib.helpers import TINY, TINY_CONTRACT, Trained


def test_bundle_is_what_the_serving_app_loads(tiny: Trained, tmp_path: Path) -> None:
    manifest = bundle.write(tiny.parts(), tmp_path / "b")
    digest = bundle.digest(manifest)
    assert verify(tmp_path / "b", digest) == manifest
    # Loading it replays every golden row through the contract, the SQL and the model.
    loaded = Bundle.load(tmp_path / "b", digest, TINY)
    assert loaded.manifest.features == tiny.features
    assert loaded.manifest.threshold == 0.4
    assert loaded.contract.duckdb_types == {c.name: c.duckdb_type for c in TINY_CONTRACT.columns}


def test_manifest_lists_every_file_with_its_digest(tiny: Trained, tmp_path: Path) -> None:
    manifest = bundle.write(tiny.parts(), tmp_path / "b")
    assert {p.name for p in (tmp_path / "b").iterdir()} == BUNDLE_FILES | {MANIFEST}
    assert manifest["files"] == {
        name: {
            "sha256": file_digest(tmp_path / "b" / name),
            "bytes": (tmp_path / "b" / name).stat().st_size,
        }
        for name in BUNDLE_FILES
    }
    assert json.loads((tmp_path / "b" / MANIFEST).read_text(encoding="utf-8")) == manifest
    assert manifest["classes"] == {
        "negative": {"value": "no", "label": "no"},
        "positive": {"value": "yes", "label": "ill"},
    }


def test_bundle_written_twice_has_one_digest(tiny: Trained, tmp_path: Path) -> None:
    one = bundle.write(tiny.parts(), tmp_path / "one")
    two = bundle.write(tiny.parts(), tmp_path / "two")
    assert one == two
    for name in BUNDLE_FILES:
        assert file_digest(tmp_path / "one" / name) == file_digest(tmp_path / "two" / name), name


def test_digest_does_not_see_provenance(tiny: Trained, tmp_path: Path) -> None:
    one = bundle.write(tiny.parts(), tmp_path / "one")
    two = bundle.write(tiny.parts(provenance={"run": "another"}), tmp_path / "two")
    assert one != two
    assert bundle.digest(one) == bundle.digest(two)


@pytest.mark.parametrize(
    "changes",
    [
        {"threshold": 0.5},
        {"lineage": {"training_set": "b" * 64}},
        {"contract": TINY_CONTRACT.model_copy(update={"version": 4})},
    ],
)
def test_digest_sees_what_serves(tiny: Trained, tmp_path: Path, changes: dict[str, Any]) -> None:
    one = bundle.write(tiny.parts(), tmp_path / "one")
    two = bundle.write(tiny.parts(**changes), tmp_path / "two")
    assert bundle.digest(one) != bundle.digest(two)


def test_golden_rows_are_rows_of_the_training_set(tiny: Trained, tmp_path: Path) -> None:
    bundle.write(tiny.parts(), tmp_path / "b")
    golden = pl.read_parquet(tmp_path / "b" / "golden.parquet")
    assert GOLDEN_ROWS // 4 < golden.height <= GOLDEN_ROWS
    assert golden["row_id"].is_unique().all()
    inputs = pl.read_parquet(tiny.training_set / INPUTS)
    rows = pl.read_parquet(tiny.training_set / ROWS)
    names = [c.name for c in TINY_CONTRACT.columns]
    kept = golden["row_id"].implode()
    assert golden.select("row_id", *names).equals(
        inputs.filter(pl.col("row_id").is_in(kept)).sort("row_id")
    )
    features = [f"feature__{name}" for name in tiny.features]
    expected = rows.filter(pl.col("row_id").is_in(kept)).sort("row_id").select(tiny.features)
    assert golden.select(features).rows() == expected.rows()


def test_golden_rows_hold_the_extremes_of_the_score_and_gaps(tiny: Trained, tmp_path: Path) -> None:
    bundle.write(tiny.parts(), tmp_path / "b")
    golden = pl.read_parquet(tmp_path / "b" / "golden.parquet")
    scores = pl.read_parquet(tiny.candidate / "predictions.parquet")["probability"].sort()
    found = golden["expected_probability"].sort()
    quarter = GOLDEN_ROWS // 4
    assert found[:quarter].equals(scores[:quarter])
    assert found[-quarter:].equals(scores[-quarter:])
    for name in ("dose", "region", "smoker", "seen"):
        assert golden[name].null_count() > 0, name


def test_training_rows_with_awkward_paths_make_the_same_bundle(
    tiny: Trained, tmp_path: Path
) -> None:
    plain = bundle.write(tiny.parts(), tmp_path / "plain")
    odd = tmp_path / "it's [odd]"
    shutil.copytree(tiny.training_set, odd)
    again = bundle.write(tiny.parts(training_set=odd, candidate=odd / "candidate"), odd / "b")
    assert again == plain


def test_reference_profiles_the_rows_trained_on(tiny: Trained, tmp_path: Path) -> None:
    bundle.write(tiny.parts(), tmp_path / "b")
    reference = json.loads((tmp_path / "b" / "reference.json").read_text(encoding="utf-8"))
    scores = pl.read_parquet(tiny.candidate / "predictions.parquet")
    trained_on = scores.filter(pl.col("side") == "train")
    assert reference["rows"] == trained_on.height < scores.height
    assert reference["score"]["maximum"] == trained_on["probability"].max()
    assert set(reference["columns"]) == {c.name for c in TINY_CONTRACT.columns}


def test_background_is_features_of_rows_trained_on(tiny: Trained, tmp_path: Path) -> None:
    digest = bundle.digest(bundle.write(tiny.parts(), tmp_path / "b"))
    reference = json.loads((tmp_path / "b" / "reference.json").read_text(encoding="utf-8"))
    rows = pl.read_parquet(tiny.training_set / ROWS).filter(pl.col("side") == "train")
    hashed = {hashlib.sha256(row_id.encode()).hexdigest(): row_id for row_id in rows["row_id"]}
    chosen = [hashed[name] for name in sorted(hashed)[:BACKGROUND_ROWS]]
    by_id = {row["row_id"]: row for row in rows.to_dicts()}
    values = [[by_id[id_][name] for name in tiny.features] for id_ in chosen]
    expected = np.array(values, np.float32)
    assert any(value is None for row in values for value in row)
    assert np.array_equal(np.array(reference["background"], np.float32), expected, equal_nan=True)
    loaded = Bundle.load(tmp_path / "b", digest, TINY)
    np.testing.assert_array_equal(loaded.background, expected)


def test_bundle_is_written_into_a_new_folder_only(tiny: Trained, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    with pytest.raises(FileExistsError):
        bundle.write(tiny.parts(), tmp_path / "b")


@pytest.mark.parametrize("name", sorted(BUNDLE_FILES))
def test_changed_file_is_found_and_named(tiny: Trained, tmp_path: Path, name: str) -> None:
    digest = bundle.digest(bundle.write(tiny.parts(), tmp_path / "b"))
    with (tmp_path / "b" / name).open("ab") as handle:
        handle.write(b" ")
    with pytest.raises(BundleError, match=name.replace(".", r"\.")):
        verify(tmp_path / "b", digest)


def test_no_file_of_a_bundle_is_a_pickle(tiny: Trained, tmp_path: Path) -> None:
    bundle.write(tiny.parts(), tmp_path / "b")
    for path in (tmp_path / "b").iterdir():
        content = path.read_bytes()
        assert not content.startswith(b"\x80"), path
        assert b"sklearn" not in content or path.name == MANIFEST, path
