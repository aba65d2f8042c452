"""The dbt project: prepared once, read cheaply, run once a batch.

A use case writes one SQL file. The dbt source that it reads is generated from the contract, and the
manifest is parsed again only when a file or a contract has changed, so that loading the definitions
costs a hash of a few files.
"""

import fcntl
import glob
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import yaml

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.digests import digest_of, file_digest
from mlops_assets.lib.spec.specs import load_specs

PROJECT_DIR = Path(__file__).parents[3] / "dbt_features"
# Beside the interpreter: the environment need not be activated.
DBT = Path(sys.executable).parent / "dbt"
INPUT_VARIABLE = "MLOPS_DBT_INPUT"
OUTPUT_VARIABLE = "MLOPS_DBT_OUTPUT"
SCRATCH_VARIABLE = "MLOPS_DBT_SCRATCH"
# The view of the valid rows that the materialisation makes, as dbt names it in its compiled SQL.
# A file in the source's YAML would be another at each build, and dbt would parse the source and
# all that reads it anew.
INPUT_VIEW = "input_rows"
INPUT_RELATION = f'"memory"."main"."{INPUT_VIEW}"'


class FeatureModelError(Exception):
    """The dbt project cannot be parsed, or a use case has no features model."""


@dataclass(frozen=True)
class DataTest:
    """One dbt test of a features model, as it becomes an asset check.

    Attributes:
        kind: Of a generic test, such as ``not_null``; empty for one of its own SQL.
        columns: What it looks at.
    """

    unique_id: str
    name: str
    description: str
    blocking: bool
    kind: str = ""
    columns: tuple[str, ...] = ()


@dataclass(frozen=True)
class FeatureModel:
    """What the manifest says about the features model of a use case.

    Attributes:
        columns: Description by column, in the order of the YAML file.
        code_version: Digest of the SQL, its macros and its source; features made by another version
            are made again.
    """

    name: str
    description: str
    columns: dict[str, str]
    tests: list[DataTest]
    code_version: str


def file_relation(path: Path) -> str:
    """A Parquet file in DuckDB's SQL: quotes, brackets and stars stand for themselves."""
    escaped = glob.escape(str(path)).replace("'", "''")
    return f"read_parquet('{escaped}')"


def model_name(use_case: str) -> str:
    """The dbt model that makes the features of a use case."""
    return f"{use_case}_features"


def _source(use_case: str, contract: Contract) -> dict[str, Any]:
    """The dbt source of a use case: the validated batch, described by the contract."""
    columns = [{"name": "row_id", "description": "Batch and row.", "data_type": "VARCHAR"}]
    columns += [
        {"name": c.name, "description": c.description, "data_type": c.duckdb_type}
        for c in contract.every_column
    ]
    table = {
        "name": "validated",
        "description": "Rows of a batch that keep the contract.",
        "identifier": INPUT_VIEW,
        "columns": columns,
    }
    return {"sources": [{"name": use_case, "schema": "main", "tables": [table]}]}


def _write_source(use_case: str, contract: Contract) -> None:
    """Write the dbt source of a use case from its contract, if it changed."""
    path = PROJECT_DIR / "generated" / f"{use_case}.yml"
    text = "# Written from the contract; edit the spec, not this file.\n" + yaml.safe_dump(
        _source(use_case, contract), sort_keys=False, allow_unicode=True
    )
    if _read(path) != text:
        path.parent.mkdir(exist_ok=True)
        partial = path.with_suffix(f".{uuid.uuid4().hex}")
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)


def prepare(use_case: str, contract: Contract) -> Path:
    """Bring the source of a use case and the manifest up to date.

    dbt parses the project as a whole, so the sources of the other use cases are written as well: in
    a new checkout there is none yet.

    Safe to call from several processes at once: one parses, the others wait.

    Returns:
        The path of ``manifest.json``.

    Raises:
        FeatureModelError: With dbt's own words when it cannot parse the project.
    """
    manifest = PROJECT_DIR / "target" / "manifest.json"
    stamp = PROJECT_DIR / "target" / "prepared.txt"
    contracts = {name: spec.contract for name, spec in load_specs().items()}
    for name, agreed in (contracts | {use_case: contract}).items():
        _write_source(name, agreed)
    if _read(stamp) == _state() and manifest.is_file():
        return manifest
    manifest.parent.mkdir(exist_ok=True)
    with (manifest.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        state = _state()
        if _read(stamp) != state or not manifest.is_file():
            _parse()
            stamp.write_text(state, encoding="utf-8")
    return manifest


def _parse() -> None:
    ours = (INPUT_VARIABLE, OUTPUT_VARIABLE, SCRATCH_VARIABLE)
    environment = {k: v for k, v in os.environ.items() if k not in ours}
    done = subprocess.run(
        [str(DBT), "parse", "--profiles-dir", str(PROJECT_DIR)],
        cwd=PROJECT_DIR,
        env=environment | {"DBT_SEND_ANONYMOUS_USAGE_STATS": "false"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise FeatureModelError(f"dbt cannot parse {PROJECT_DIR}:\n{done.stdout}{done.stderr}")


def _read(path: Path) -> str | None:
    return path.read_text(encoding="utf-8") if path.is_file() else None


def _files() -> Iterable[Path]:
    yield PROJECT_DIR / "dbt_project.yml"
    yield PROJECT_DIR / "profiles.yml"
    for folder in ("models", "macros", "generated"):
        for suffix in ("*.sql", "*.yml"):
            yield from sorted((PROJECT_DIR / folder).rglob(suffix))


def _state() -> str:
    files = {str(p.relative_to(PROJECT_DIR)): file_digest(p) for p in _files() if p.is_file()}
    return digest_of(files)


def _generic(test: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says of a generic test."""
    given = test.get("kwargs", {})
    single = [given["column_name"]] if "column_name" in given else []
    return {"kind": test.get("name", ""), "columns": tuple(given.get("columns", single))}


@lru_cache(maxsize=4)
def _manifest(path: Path, modified_ns: int) -> dict[str, Any]:
    del modified_ns  # part of the cache's key
    value: dict[str, Any] = json.loads(path.read_bytes())
    return value


def feature_model(manifest_path: Path, use_case: str) -> FeatureModel:
    """Read the features model of a use case from the manifest.

    Raises:
        FeatureModelError: If the project has no such model.
    """
    manifest = _manifest(manifest_path, manifest_path.stat().st_mtime_ns)
    name = model_name(use_case)
    nodes = manifest["nodes"]
    node = next(
        (n for n in nodes.values() if n["resource_type"] == "model" and n["name"] == name), None
    )
    if node is None:
        raise FeatureModelError(
            f"use case {use_case!r} has no features model: "
            f"write dbt_features/models/{use_case}/{name}.sql"
        )
    macros = [manifest["macros"][m]["macro_sql"] for m in sorted(node["depends_on"]["macros"])]
    tests = [
        DataTest(
            unique_id=unique_id,
            name=test["name"],
            description=test.get("description") or f"dbt test `{test['name']}`.",
            blocking=str(test["config"]["severity"]).lower() == "error",
            **_generic(test.get("test_metadata") or {}),
        )
        for unique_id, test in sorted(nodes.items())
        if test["resource_type"] == "test" and test.get("attached_node") == node["unique_id"]
    ]
    return FeatureModel(
        name=name,
        description=node["description"],
        columns={c["name"]: c["description"] for c in node["columns"].values()},
        tests=tests,
        code_version=digest_of({"sql": node["raw_code"], "macros": macros}),
    )
