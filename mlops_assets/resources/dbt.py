"""dbt as a resource: dagster-dbt runs it, once a build.

Only where a build begins is dagster-dbt imported, which costs more than Dagster itself; and its
``DbtCliResource`` is passed by, whose every call asks dbt for its version in another process, and
loads dbt's adapter into this one.
"""

import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.features.dbt_project import PROJECT_DIR


class Dbt(dg.ConfigurableResource["Dbt"]):
    """The ``dbt`` command on the project of the features.

    Attributes:
        executable: Path of ``dbt``.
    """

    executable: str

    def build(self, model: str, target: Path, variables: Mapping[str, str]) -> list[dict[str, Any]]:
        """Build a model and run its data tests.

        Args:
            model: Its name.
            target: A folder of this build; what dbt has parsed before is taken along.
            variables: Of the environment, for this build alone.

        Returns:
            What became of the model and of each test, as in dbt's ``run_results.json``.

        Raises:
            dagster_dbt.errors.DagsterDbtCliRuntimeError: With dbt's words if it ends without
                results.
        """
        from dagster_dbt import DagsterDbtTranslator, DbtCliInvocation
        from packaging.version import Version

        command = [self.executable, "build", "--select", model]
        command += ["--exclude-resource-type", "unit_test"]
        own = {
            "PYTHONUNBUFFERED": "1",
            # As dagster-dbt reads what dbt says.
            "DBT_LOG_FORMAT": "json",
            "DBT_SEND_ANONYMOUS_USAGE_STATS": "false",
            "DBT_PROJECT_DIR": str(PROJECT_DIR),
            "DBT_PROFILES_DIR": str(PROJECT_DIR),
            "DBT_TARGET_PATH": str(target),
            "DBT_LOG_PATH": str(target),
        }
        invocation = DbtCliInvocation.run(
            args=command,
            env={**os.environ, **own, **variables},
            manifest={},
            dagster_dbt_translator=DagsterDbtTranslator(),
            project_dir=PROJECT_DIR,
            target_path=target,
            # A test that fails is a result; what else fails has none.
            raise_on_error=False,
            context=None,
            adapter=None,
            cli_version=Version(version("dbt-core")),
        ).wait()
        if not (target / "run_results.json").is_file() and (error := invocation.get_error()):
            raise error
        found: list[dict[str, Any]] = invocation.get_artifact("run_results.json")["results"]
        return found
