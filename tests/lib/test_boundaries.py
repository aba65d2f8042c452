"""What `lib` may import: no Dagster at all, and nothing heavy before it is needed."""

import json
import pkgutil
import subprocess
import sys

import pytest

import mlops_assets.lib

# A subclass needs its parent: who imports it, does so inside a function, or is found here itself.
SUBCLASSES = {"boosting"}
MODULES = sorted(
    m.name
    for m in pkgutil.walk_packages(mlops_assets.lib.__path__, "mlops_assets.lib.")
    if m.name.rpartition(".")[2] not in SUBCLASSES
)
HEAVY = [
    "botocore", "dagster", "dagster_dbt", "dagster_mlflow", "dbt", "duckdb", "evidently", "fastapi",
    "fsspec", "httpx", "kubernetes", "matplotlib", "mlflow", "numpy", "onnx", "onnxruntime",
    "optuna", "pandas", "pandera", "PIL", "polars", "pyarrow", "s3fs", "skl2onnx", "sklearn",
    "sqlalchemy", "sqlglot", "tenacity", "uvicorn", "xgboost",
]  # fmt: skip

# Imports one module after the other and notes which heavy package each brings with it.
PROBE = """
import importlib, json, sys
modules, heavy = json.loads(sys.argv[1])
found, known = {}, set()
for module in modules:
    importlib.import_module(module)
    new = {name for name in heavy if name in sys.modules} - known
    known |= new
    found[module] = sorted(new)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def imported() -> dict[str, list[str]]:
    """By module of `lib`, in a fresh process: the heavy packages that came with it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROBE, json.dumps([MODULES, HEAVY])],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, list[str]] = json.loads(done.stdout)
    return found


def test_every_module_is_looked_at(imported: dict[str, list[str]]) -> None:
    assert list(imported) == MODULES
    assert len(MODULES) >= 20


@pytest.mark.parametrize("module", MODULES)
def test_module_imports_nothing_heavy_and_no_dagster(
    imported: dict[str, list[str]], module: str
) -> None:
    assert imported[module] == []


def test_probe_sees_what_is_imported() -> None:
    probed = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps([["json", "polars"], HEAVY])],
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(probed.stdout)["json"] == []
    assert "polars" in json.loads(probed.stdout)["polars"]
