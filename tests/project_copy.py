"""A copy of the repository, in which a test may write a new use case, with a state of its own."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from mlops_assets.lib.bundles.sandbox import free_port
from tests.platform import environment

ROOT = Path(__file__).parents[1]
KEPT = ["mlops_assets", "serving", "dbt_features", "tests", "docs"]
FILES = ["pyproject.toml", "dagster.yaml", "workspace.yaml", "Makefile"]
# With the bytecode that there is: the environment may forbid Python to write it again, and every
# command would compile what it imports. A file that is being written is left out.
SKIPPED = shutil.ignore_patterns("logs", "*.pyc.*")


class ProjectCopy:
    """The project in another folder, and how its commands are called.

    Attributes:
        root: Of the copy.
        environment: For processes of the copy; ports are free ones.
    """

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.root.mkdir(parents=True)
        for name in KEPT:
            shutil.copytree(ROOT / name, self.root / name, ignore=SKIPPED)
        for name in FILES:
            shutil.copy2(ROOT / name, self.root / name)
        ports = {
            f"MLOPS_{name}_PORT": str(free_port()) for name in ("DAGSTER", "SERVING", "MLFLOW")
        }
        tools = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        self.environment = environment(folder / "home") | ports
        self.environment |= {"PYTHONPATH": str(self.root), "PATH": tools}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command in the copy to its end."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def use_case_files(self, name: str) -> list[Path]:
        """What of a use case is there."""
        folders = [self.root / "mlops_assets" / "defs" / name]
        folders.append(self.root / "dbt_features" / "models" / name)
        folders.append(self.root / "dbt_features" / "generated")
        found = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
        return sorted(p for p in found if p.is_file() and name in str(p.relative_to(self.root)))
