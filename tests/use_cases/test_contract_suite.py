"""What every use case must keep. A new one is covered with no new test code."""

from pathlib import Path
from typing import Any

import pytest

from mlops_assets.lib.features.dbt_project import feature_model, model_name, prepare
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.lib.spec.use_case import UseCase

SPECS = load_specs()
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=sorted(SPECS))
def spec(request: pytest.FixtureRequest) -> UseCase:
    return SPECS[request.param]


def test_the_folder_and_the_prefix_have_the_use_cases_name(spec: UseCase) -> None:
    assert (ROOT / "mlops_assets" / "defs" / spec.name / "defs.yaml").is_file()


def test_the_features_model_exists_with_tests_and_descriptions(spec: UseCase) -> None:
    model = feature_model(prepare(spec.name, spec.contract), spec.name)
    assert model.description
    assert len(model.tests) >= 3
    assert all(model.columns.values()), "a feature has no description"


def test_the_feature_sql_is_row_wise_and_reads_no_outcome(spec: UseCase) -> None:
    from serving.bundle.sql_check import check_sql

    path = ROOT / "dbt_features" / "models" / spec.name / f"{model_name(spec.name)}.sql"
    sql = path.read_text().replace("{{ source('" + spec.name + "', 'validated') }}", "input_rows")
    features = check_sql(sql, [column.name for column in spec.contract.inputs])
    model = feature_model(prepare(spec.name, spec.contract), spec.name)
    assert ["row_id", *features] == list(model.columns), "the YAML describes other columns"


def test_the_sql_computes_a_row_of_examples(spec: UseCase) -> None:
    from serving.bundle.contract import read_contract
    from serving.bundle.features import FeatureRunner

    row = example(spec)
    path = ROOT / "dbt_features" / "models" / spec.name / f"{model_name(spec.name)}.sql"
    sql = path.read_text().replace("{{ source('" + spec.name + "', 'validated') }}", "input_rows")
    import json

    contract = read_contract(json.dumps(spec.contract.request_schema(spec.name)).encode(), "spec")
    model = feature_model(prepare(spec.name, spec.contract), spec.name)
    features = [name for name in model.columns if name != "row_id"]
    runner = FeatureRunner(sql, contract.duckdb_types, features)
    assert runner.run([row]).shape == (1, len(features))
    empty = {c.name: None if c.nullable else row[c.name] for c in spec.contract.inputs}
    assert runner.run([empty]).shape == (1, len(features))


def test_every_column_has_an_example_within_its_contract(spec: UseCase) -> None:
    for column in spec.contract.inputs:
        assert column.example is not None, column.name
        if column.allowed is not None:
            assert column.example in column.allowed
        if isinstance(column.example, int | float):
            assert column.minimum is None or column.example >= column.minimum
            assert column.maximum is None or column.example <= column.maximum


def test_floors_and_slices_name_what_exists(spec: UseCase) -> None:
    import numpy as np

    from mlops_assets.lib.evaluation.metrics import metrics

    known = metrics(np.array([0.0, 1.0]), np.array([0.2, 0.8]), 0.5, np.ones((1, 2)))
    assert set(spec.gate.floors) <= set(known)


def example(spec: UseCase) -> dict[str, Any]:
    return {column.name: column.example for column in spec.contract.inputs}
