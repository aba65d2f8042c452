"""CPU seconds to load the definitions, against importing Dagster and dagster-dbt alone.

Both sides are measured in turn in the same run, since machines are noisy. Target: at most 1.5.
"""

import resource
import statistics
import subprocess
import sys

ROUNDS = 7
IMPORTS = "import dagster, dagster_dbt"
DEFINITIONS = "from mlops_assets.definitions import defs; defs()"


def cpu_seconds(code: str) -> float:
    """User and system time of a process that runs ``code``."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code], check=True, stderr=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main() -> None:
    """Print both medians and the ratio."""
    for code in (IMPORTS, DEFINITIONS):
        cpu_seconds(code)  # compiles what is not compiled yet
    pairs = [(cpu_seconds(IMPORTS), cpu_seconds(DEFINITIONS)) for _ in range(ROUNDS)]
    imports, definitions = (statistics.median(side) for side in zip(*pairs, strict=True))
    ratio = statistics.median(b / a for a, b in pairs)
    print(f"import dagster, dagster_dbt  {imports:6.2f} s of CPU (median of {ROUNDS})")
    print(f"load the definitions         {definitions:6.2f} s of CPU")
    print(f"ratio                        {ratio:6.2f} (target: at most 1.5)")


if __name__ == "__main__":
    main()
