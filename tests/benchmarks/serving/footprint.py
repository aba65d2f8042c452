"""What serving costs at rest: the size of its environment, the memory of a worker, its start.

The environment is made of ``requirements/serving.txt`` and nothing else, and holds no code but
``serving``: so this is also the proof that serving installs alone.
"""

import shutil
import statistics

import psutil

from tests.benchmarks.serving.drive import drive
from tests.benchmarks.serving.environments import distributions, environment, python_of, size
from tests.benchmarks.serving.model import Model
from tests.benchmarks.serving.servers import ours
from tests.serving.server import ROOT

STARTS = 7
START_LIMIT = 3.0
NOT_NEEDED = {
    "dagster", "dbt-core", "evidently", "httpx", "matplotlib", "mlflow", "mlflow-skinny", "onnx",
    "pandas", "polars", "pyarrow", "requests", "scikit-learn", "scipy", "xgboost",
}  # fmt: skip


def footprint(model: Model, bodies: list[bytes], seconds: float) -> None:
    """Print a line a figure."""
    lock = ROOT / "requirements" / "serving.txt"
    folder = environment("serving", ["--require-hashes", "--no-deps", "-r", str(lock)])
    found = distributions(folder)
    needless = sorted(NOT_NEEDED & set(found))
    tools = {name: version for name, version in found.items() if name in ("pip", "setuptools")}
    print(
        f"environment of serving alone: {size(folder) / 2**20:.0f} MiB with bytecode, "
        f"{len(found) - len(tools)} packages; of what it must not need: {needless or 'nothing'}"
    )
    alone = model.folder / "alone"
    shutil.copytree(
        ROOT / "serving", alone / "serving", ignore=shutil.ignore_patterns("__pycache__")
    )
    starts = []
    for _ in range(STARTS):
        # The first one compiles; it does not count.
        with ours(model.root, bodies, python=python_of(folder), cwd=alone) as server:
            starts.append(server.started_in)
    print(
        f"start of the process to ready: {statistics.median(starts[1:]):.2f} s, median of "
        f"{STARTS - 1} (target: at most {START_LIMIT:g}); the longest {max(starts[1:]):.2f} s, the "
        f"first, without bytecode, {starts[0]:.2f} s"
    )
    with ours(model.root, bodies, python=python_of(folder), cwd=alone) as server:
        _say_memory("ready", server.processes())
        drive(server, 32, seconds)
        _say_memory(f"after {seconds:g} s of 32 connections", server.processes())


def _say_memory(when: str, processes: list[psutil.Process]) -> None:
    for number, process in enumerate(processes):
        memory = process.memory_full_info()
        print(
            f"memory, {when}, process {number + 1} of {len(processes)}: "
            f"RSS {memory.rss / 2**20:.0f} MiB, PSS {memory.pss / 2**20:.0f} MiB, "
            f"its own {memory.uss / 2**20:.0f} MiB"
        )
