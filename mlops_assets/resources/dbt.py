"""dbt as a resource: its command, started once a build.

dagster-dbt's own resource is not used. Importing it costs every process that loads the definitions
more than Dagster itself does, and each call starts dbt a second time to ask for its version, and
loads dbt's adapter into the process of the run.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.features.dbt_project import PROJECT_DIR, FeatureModelError


class DbtCommand(dg.ConfigurableResource["DbtCommand"]):
    """The ``dbt`` command on the project of the features.

    Attributes:
        executable: Path of ``dbt``.
    """

    executable: str

    def build(self, model: str, target: Path, variables: Mapping[str, str]) -> list[dict[str, Any]]:
        """Build a model and run its data tests.

        What dbt says goes to standard output, where Dagster keeps it with the run.

        Args:
            model: Its name.
            target: A folder of this build; what dbt has parsed before is taken along.
            variables: Of the environment, for this build alone.

        Returns:
            What became of the model and of each test, as in dbt's ``run_results.json``.

        Raises:
            FeatureModelError: With dbt's words if it ends without results.
        """
        target.mkdir(parents=True)
        parsed = PROJECT_DIR / "target" / "partial_parse.msgpack"
        if parsed.is_file():
            shutil.copy(parsed, target)
        command = [self.executable, "build", "--select", model]
        command += ["--exclude-resource-type", "unit_test", "--profiles-dir", str(PROJECT_DIR)]
        command += ["--target-path", str(target), "--log-path", str(target)]
        done = subprocess.run(
            command,
            cwd=PROJECT_DIR,
            env={**os.environ, **variables},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        print(done.stdout, end="", flush=True)
        results = target / "run_results.json"
        if not results.is_file():
            said = f"exit code {done.returncode}\n{done.stdout}"
            raise FeatureModelError(f"dbt could not build {model}: {said}")
        found: list[dict[str, Any]] = json.loads(results.read_bytes())["results"]
        return found
