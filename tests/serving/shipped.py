"""The feature SQL of the use cases that ship with the project, as serving runs it."""

import json

from mlops_assets.lib.features.dbt_project import PROJECT_DIR, model_name
from mlops_assets.lib.spec.specs import load_spec
from serving.bundle.contract import Contract, read_contract
from serving.bundle.sql_check import check_sql

USE_CASES = ("heart_disease", "churn")


def shipped(use_case: str) -> tuple[str, Contract, list[str]]:
    """The feature SQL of a use case over `input_rows`, its contract and its features."""
    path = PROJECT_DIR / "models" / use_case / f"{model_name(use_case)}.sql"
    source = "{{ source('" + use_case + "', 'validated') }}"
    sql = path.read_text(encoding="utf-8").replace(source, "input_rows")
    schema = load_spec(use_case).contract.request_schema(use_case)
    contract = read_contract(json.dumps(schema).encode(), use_case)
    return sql, contract, check_sql(sql, contract.duckdb_types)
