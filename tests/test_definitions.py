"""The code location: what is in it, and what loading it costs."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest

ROOT = Path(__file__).parents[1]
HEAVY = [
    "mlflow", "evidently", "sklearn", "xgboost", "kubernetes", "onnxruntime", "dbt", "dagster_dbt",
]  # fmt: skip


@pytest.fixture(scope="module")
def definitions() -> Iterator[dg.Definitions]:
    from mlops_assets.definitions import defs

    # Dagster asks the instance that was entered last, which may be one of another file's and gone.
    with dg.DagsterInstance.ephemeral():
        yield defs()


def test_the_graph_is_what_is_written_down(definitions: dg.Definitions) -> None:
    """Every asset, check, job and sensor. A change here is a change of what is deployed."""
    graph = definitions.resolve_asset_graph()
    found = {
        "assets": sorted(key.to_user_string() for key in graph.get_all_asset_keys()),
        "checks": sorted(
            f"{key.asset_key.to_user_string()}:{key.name}" for key in graph.asset_check_keys
        ),
        "jobs": sorted(
            job.name for job in definitions.resolve_all_job_defs() if not job.name.startswith("__")
        ),
        "sensors": sorted(sensor.name for sensor in definitions.sensors or []),
    }
    written = json.loads((ROOT / "tests" / "graph.json").read_text())
    assert found == written


def test_every_asset_says_who_owns_it_and_what_it_is(definitions: dg.Definitions) -> None:
    for spec in definitions.resolve_all_asset_specs():
        assert spec.description, spec.key
        assert spec.owners, spec.key
        assert spec.kinds, spec.key
        assert spec.tags["mlops/use_case"] == spec.key.path[0]
        assert spec.group_name == spec.key.path[0]


def test_loading_imports_nothing_heavy() -> None:
    code = (
        "import sys; from mlops_assets.definitions import defs; defs();"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_command_line_does_not_pay_for_dagster() -> None:
    code = (
        "import sys, mlops_assets.cli; print([m for m in ('dagster', 'dbt') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    "command",
    [
        ["dg", "check", "defs"],
        ["dg", "check", "yaml"],
        ["dagster", "definitions", "validate"],
    ],
)
def test_dagsters_own_checks_pass(command: list[str]) -> None:
    tool = Path(sys.executable).parent / command[0]
    done = subprocess.run(
        [tool, *command[1:]], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_locks_have_hashes_and_name_no_index() -> None:
    for lock in sorted((ROOT / "requirements").glob("*.txt")):
        text = lock.read_text()
        assert "://" not in text
        assert "--index" not in text
        requirements = [line for line in text.splitlines() if line[:1].isalnum()]
        assert requirements
        assert len(requirements) <= text.count("--hash=sha256:")
    assert "dbt-core==1.11." in (ROOT / "requirements" / "runtime.txt").read_text()
