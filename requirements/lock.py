"""Resolve the dependencies of pyproject.toml into lock files with hashes.

One version of each package for every supported Python, so that a model does not depend on which one
trained it. The files name no index: pip and uv use whatever they are set up for.
"""

import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# xgboost asks for NVIDIA's collective library (300 MB) on every Linux machine. It is loaded only
# when several GPUs train together. dagster-dbt asks for sqlglot's old tokenizer, too; sqlglot uses
# its new one and warns of the other.
LEFT_OUT = ("nvidia-nccl-cu12", "nvidia-nccl-cu13", "sqlglotrs")


def compile_lock(name: str, source: Path, arguments: list[str]) -> None:
    """Run uv's resolver for one lock file."""
    command = ["uv", "pip", "compile", str(source), "--output-file", str(FOLDER / name)]
    command += ["--universal", "--python-version", "3.11", "--fork-strategy", "fewest"]
    command += ["--generate-hashes", "--no-annotate", "--no-header", "--quiet", *arguments]
    command += [word for package in LEFT_OUT for word in ("--no-emit-package", package)]
    subprocess.run([str(Path(sys.executable).parent / command[0]), *command[1:]], check=True)


def main() -> None:
    """Write every lock; the others are constrained to the versions of the runtime."""
    project = FOLDER.parent / "pyproject.toml"
    runtime = ["--constraints", str(FOLDER / "runtime.txt")]
    compile_lock("runtime.txt", project, ["--upgrade"])
    compile_lock("dev.txt", project, ["--extra", "dev", *runtime])
    compile_lock("serving.txt", FOLDER / "serving.in", runtime)
    compile_lock("uv.txt", FOLDER / "uv.in", ["--upgrade"])


if __name__ == "__main__":
    main()
