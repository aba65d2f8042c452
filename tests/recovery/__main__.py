"""``make faults``: each named point on a state of its own, and the whole demo at random times.

Prints the kills survived of the kills made. Survived means that, after a restart and nothing else,
the state is the one that an undisturbed run reaches.
"""

import argparse
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from mlops_assets.lib.bundles.sandbox import free_port
from tests.platform import environment
from tests.recovery.points import POINTS
from tests.recovery.survival import kill_all, outcome, survive

DEMO = "the whole of make demo at a random time"
# Of one state: it is killed so often before it is left in peace.
KILLS_OF_A_STATE = 4
LATEST_SECONDS = 75.0


def main() -> int:
    """Kill, compare, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.recovery", description=__doc__)
    parser.add_argument("--points", nargs="*", default=list(POINTS), choices=list(POINTS))
    parser.add_argument("--demo", type=int, default=20, help="kills of the whole demo")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    survived: dict[str, tuple[int, int]] = {}
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    print(f"working in {folder}, which stays if something does not survive", flush=True)
    if options.points:
        survive(folder / "unharmed", [])
        wanted = outcome(folder / "unharmed")
    for point in options.points:
        words = POINTS[point][0]
        made = survive(folder / point, [point])
        survived[words] = (int(_same(outcome(folder / point), wanted)), len(made))
        print(f"{words}: {survived[words][0]} of {survived[words][1]}", flush=True)
    if options.demo:
        survived[DEMO] = _demos(folder, options.demo, random.Random(options.seed))
    print("\n| killed | survived | of |\n| --- | --- | --- |")
    for words, (well, made_count) in survived.items():
        print(f"| {words} | {well} | {made_count} |")
    if any(well < made_count or not made_count for well, made_count in survived.values()):
        return 1
    shutil.rmtree(folder)
    return 0


def _same(found: dict[str, Any], wanted: dict[str, Any]) -> bool:
    for name, value in wanted.items():
        if found[name] != value:
            print(f"  {name}: {found[name]} and not {value}", flush=True)
    return found == wanted


def _demos(folder: Path, kills: int, chance: random.Random) -> tuple[int, int]:
    _finish(folder / "demo")
    wanted = outcome(folder / "demo")
    well, made = 0, 0
    while made < kills:
        home = folder / f"demo-{made}"
        here = min(KILLS_OF_A_STATE, kills - made)
        for _ in range(here):
            seconds = chance.uniform(1.0, LATEST_SECONDS)
            _start_and_kill(home, seconds)
            made += 1
        _finish(home)
        same = _same(outcome(home), wanted)
        well += here * same
        print(f"{DEMO}: {well} of {made}", flush=True)
    return well, made


def _environment(home: Path) -> dict[str, str]:
    ports = {f"MLOPS_{name}_PORT": str(free_port()) for name in ("DAGSTER", "SERVING", "MLFLOW")}
    return environment(home) | ports


def _command() -> list[str]:
    return [str(Path(sys.executable).parent / "mlops"), "demo", "--once"]


def _start_and_kill(home: Path, seconds: float) -> None:
    with subprocess.Popen(
        _command(), env=_environment(home), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as demo:
        deadline = time.monotonic() + seconds
        while demo.poll() is None and time.monotonic() < deadline:
            time.sleep(0.05)
        demo.kill()
    kill_all(home)
    print(f"  killed after {seconds:.1f} s", flush=True)


def _finish(home: Path) -> None:
    done = subprocess.run(
        _command(), env=_environment(home), capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"the demo did not finish:\n{done.stdout[-3000:]}{done.stderr[-3000:]}")


if __name__ == "__main__":
    sys.exit(main())
