import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from mlops_assets.lib.features import dbt_project
from mlops_assets.lib.features.dbt_project import (
    DBT,
    INPUT_RELATION,
    INPUT_VARIABLE,
    OUTPUT_VARIABLE,
    PROJECT_DIR,
    FeatureModelError,
    feature_model,
    model_name,
    prepare,
)
from mlops_assets.lib.features.feature_sql import portable
from mlops_assets.lib.spec import specs
from mlops_assets.lib.spec.specs import DEFS
from mlops_assets.lib.spec.use_case import UseCase
from serving.bundle.features import FeatureRunner
from tests.lib.helpers import column, validated

HEART = "heart_disease"
DATA = Path(__file__).parents[3] / "mlops_assets" / "data" / "heart_cleveland.csv"


@pytest.fixture(scope="module")
def manifest(heart: UseCase) -> Path:
    """The project's own manifest, which every run of the definitions keeps up to date."""
    return prepare(HEART, heart.contract)


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the dbt project as it is after a checkout, with heart disease and a twin of it."""
    folder = tmp_path / "it is a project"
    ours, copied = PROJECT_DIR / "models" / HEART, folder / "models"
    shutil.copytree(PROJECT_DIR / "macros", folder / "macros")
    for name in ("dbt_project.yml", "profiles.yml"):
        shutil.copy(PROJECT_DIR / name, folder)
    shutil.copytree(ours, copied / HEART)
    (copied / "twin").mkdir()
    sql = (ours / f"{model_name(HEART)}.sql").read_text(encoding="utf-8")
    (copied / "twin" / "twin_features.sql").write_text(sql.replace(HEART, "twin"))
    text = (DEFS / HEART / "defs.yaml").read_text(encoding="utf-8")
    for name in (HEART, "twin"):
        (tmp_path / "defs" / name).mkdir(parents=True)
        spec = text.replace(f"name: {HEART}", f"name: {name}")
        (tmp_path / "defs" / name / "defs.yaml").write_text(spec, encoding="utf-8")
    monkeypatch.setattr(dbt_project, "PROJECT_DIR", folder)
    monkeypatch.setattr(specs, "DEFS", tmp_path / "defs")
    return folder


@pytest.fixture
def doctored(manifest: Path, tmp_path: Path) -> dict[str, Any]:
    """The manifest's content, to be changed and saved by `saved`."""
    content: dict[str, Any] = json.loads(manifest.read_bytes())
    return content


def saved(folder: Path, content: dict[str, Any], name: str) -> Path:
    path = folder / f"{name}.json"
    path.write_text(json.dumps(content))
    return path


def model_of(content: dict[str, Any]) -> dict[str, Any]:
    node: dict[str, Any] = content["nodes"][f"model.dbt_features.{model_name(HEART)}"]
    return node


def changed(project: Path) -> dict[Path, int]:
    """When each file of the project was last written."""
    return {p: p.stat().st_mtime_ns for p in project.rglob("*") if p.is_file()}


def source_columns(manifest: Path) -> dict[str, Any]:
    content = json.loads(manifest.read_bytes())
    columns: dict[str, Any] = content["sources"][f"source.dbt_features.{HEART}.validated"][
        "columns"
    ]
    return columns


def test_project_is_parsed_when_it_has_changed_and_only_then(
    checkout: Path, heart: UseCase
) -> None:
    # A new checkout: the other use case has no source yet, and its model needs one. Of two that
    # prepare it at once, one runs dbt and the other waits.
    manifest = checkout / "target" / "manifest.json"
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(prepare, [HEART, "twin"], [heart.contract] * 2)) == [manifest] * 2
    log = (checkout / "logs" / "dbt.log").read_text(encoding="utf-8")
    assert log.count("Running with dbt=") == 1
    assert feature_model(manifest, "twin").name == "twin_features"
    assert list(source_columns(manifest))[-2:] == ["thal", "condition"]

    # Nothing has changed: dbt is not run, and nothing is written.
    before = changed(checkout)
    assert prepare(HEART, heart.contract) == prepare("twin", heart.contract) == manifest
    assert changed(checkout) == before

    # A new contract is a new source. What dbt cannot parse is refused with its words, and is not
    # taken for parsed.
    more = [*heart.contract.columns, column("weight", description="Weight é.")]
    broken = checkout / "models" / "broken.sql"
    broken.write_text("select {{ no_such_macro( }}")
    with pytest.raises(FeatureModelError, match=r"dbt cannot parse (?s:.*)models/broken\.sql"):
        prepare(HEART, heart.contract.model_copy(update={"columns": more}))
    assert "Weight é." in (checkout / "generated" / f"{HEART}.yml").read_text(encoding="utf-8")
    stamp = checkout / "target" / "prepared.txt"
    assert stamp.stat().st_mtime_ns == before[stamp]
    assert {p.name for p in (checkout / "generated").iterdir()} == {f"{HEART}.yml", "twin.yml"}

    # With both taken back, it is what was parsed before.
    broken.unlink()
    assert prepare(HEART, heart.contract) == manifest
    assert feature_model(manifest, HEART).tests


def test_source_is_written_from_the_contract(manifest: Path, heart: UseCase) -> None:
    text = (PROJECT_DIR / "generated" / f"{HEART}.yml").read_text(encoding="utf-8")
    assert text.startswith("# Written from the contract; edit the spec, not this file.\n")
    (source,) = yaml.safe_load(text)["sources"]
    (table,) = source["tables"]
    assert (source["name"], table["name"]) == (HEART, "validated")
    assert {c["name"]: c["data_type"] for c in table["columns"]} == {
        "row_id": "VARCHAR",
        **{c.name: c.duckdb_type for c in heart.contract.every_column},
    }
    assert [c["description"] for c in table["columns"][1:]] == [
        c.description for c in heart.contract.every_column
    ]


def test_features_model_lists_its_columns_and_tests(manifest: Path) -> None:
    model = feature_model(manifest, HEART)
    described = yaml.safe_load(
        (PROJECT_DIR / "models" / HEART / f"{model_name(HEART)}.yml").read_text(encoding="utf-8")
    )["models"][0]
    assert model.name == model_name(HEART) == "heart_disease_features"
    assert model.description.startswith("Features that a cardiologist would recognise")
    assert list(model.columns) == [c["name"] for c in described["columns"]]
    assert all(model.columns.values())
    # Every test of the YAML, of the model and of its columns, and no unit test.
    asked = [*described["data_tests"]]
    asked += [test for c in described["columns"] for test in c.get("data_tests", [])]
    names = {next(iter(test.values()))["name"] for test in asked}
    assert {test.name for test in model.tests} == names
    assert len(model.tests) == len(asked) >= 9
    assert all(test.blocking and test.description for test in model.tests)


def test_test_that_warns_does_not_block(doctored: dict[str, Any], tmp_path: Path) -> None:
    (unique,) = (n for n in doctored["nodes"].values() if n["name"] == f"{HEART}_row_id_unique")
    unique["config"]["severity"] = "WARN"
    model = feature_model(saved(tmp_path, doctored, "warns"), HEART)
    assert [test.name for test in model.tests if not test.blocking] == [unique["name"]]


def test_use_case_without_a_features_model_is_told_what_to_write(manifest: Path) -> None:
    with pytest.raises(
        FeatureModelError,
        match=r"'x' has no features model: write dbt_features/models/x/x_features\.sql",
    ):
        feature_model(manifest, "x")


def test_code_version_sees_the_sql_and_its_macros_only(
    doctored: dict[str, Any], tmp_path: Path
) -> None:
    version = feature_model(saved(tmp_path, doctored, "same"), HEART).code_version
    model = model_of(doctored)
    model["description"] = "Other words."
    assert feature_model(saved(tmp_path, doctored, "words"), HEART).code_version == version
    macro = doctored["macros"]["macro.dbt_features.test_within"]
    macro["macro_sql"] += " "
    assert feature_model(saved(tmp_path, doctored, "unused"), HEART).code_version == version
    model["depends_on"]["macros"].append("macro.dbt_features.test_within")
    used = feature_model(saved(tmp_path, doctored, "macro"), HEART).code_version
    model["raw_code"] += "\n-- one more line"
    changed = feature_model(saved(tmp_path, doctored, "sql"), HEART).code_version
    assert len({version, used, changed}) == 3


def test_manifest_is_read_again_when_it_has_changed(
    doctored: dict[str, Any], tmp_path: Path
) -> None:
    path = saved(tmp_path, doctored, "manifest")
    first = feature_model(path, HEART)
    model_of(doctored)["description"] = "Other words."
    saved(tmp_path, doctored, "manifest")
    os.utime(path, ns=(1, 1))
    assert feature_model(path, HEART).description == "Other words." != first.description


def test_one_build_passes_every_test_and_gives_the_features_that_serving_computes(
    manifest: Path, heart: UseCase, tmp_path: Path
) -> None:
    batch = validated(heart.contract, DATA.read_text(encoding="utf-8"), tmp_path)
    paths = {
        INPUT_VARIABLE: str(tmp_path / "valid.parquet"),
        OUTPUT_VARIABLE: str(tmp_path / "features.parquet"),
    }
    name = model_name(HEART)
    done = subprocess.run(
        [DBT, "build", "--select", name, "--target-path", tmp_path / "target"],
        cwd=PROJECT_DIR,
        env={**os.environ, **paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    results = json.loads((tmp_path / "target" / "run_results.json").read_bytes())["results"]
    status = {result["unique_id"]: result["status"] for result in results}
    model = feature_model(manifest, HEART)
    assert {status[test.unique_id] for test in model.tests} == {"pass"}
    assert [s for i, s in status.items() if i.startswith("unit_test.")] == ["pass"]

    # Training read what dbt wrote; serving runs the same SQL on a request's rows.
    made = pl.read_parquet(tmp_path / "features.parquet")
    assert made.columns == ["row_id", *(c for c in model.columns if c != "row_id")]
    assert made["row_id"].to_list() == batch.valid["row_id"].to_list()
    (compiled,) = (r["compiled_code"] for r in results if r["unique_id"].startswith("model."))
    types = {c.name: c.duckdb_type for c in heart.contract.columns}
    sql = portable(compiled, INPUT_RELATION, types)
    runner = FeatureRunner(sql, types, made.columns[1:])
    requests = batch.valid.select(list(types)).to_dicts()
    served = np.vstack([runner.run(requests[n : n + 50]) for n in range(0, len(requests), 50)])
    np.testing.assert_array_equal(served, made.drop("row_id").to_numpy().astype(np.float32))
