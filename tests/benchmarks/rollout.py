"""``python -m tests.benchmarks.rollout``: a version on its way under load, and faulty ones.

Small bundles with a champion and its challengers, the real app, and requests that come in all the
time, each answer held against the score of the version that it names. Prints what failed on the way
from a canary of 10 % to full; for each planted fault how long it took until the old state was back;
and the share of the requests that a canary got against the share asked for.
"""

import argparse
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.desired_state import TakenBackError
from tests.rollout.small import FAULTS, Small
from tests.serving.bundles import USE_CASE

RATE = 200.0
SHARES = (1.0, 10.0, 50.0)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.rollout", description=__doc__)
    parser.add_argument("--seconds", type=float, default=20.0, help="of each step")
    options = parser.parse_args()
    minutes = options.seconds / 60
    rules = {
        "steps": [{"canary": 10, "minutes": minutes}, {"canary": 50, "minutes": minutes}],
        "analysis": {"retries": 1},
    }
    with tempfile.TemporaryDirectory() as scratch:
        made = Small(Path(scratch), rules)
        made.crowned()
        with made.serving():
            print("| planted fault | old state back after | failed | wrong | why |")
            print("| --- | --- | --- | --- | --- |")
            for fault in (each for each in FAULTS if each != "none"):
                print(_faulty(made, fault, options.seconds), flush=True)
            print(f"\n{_good(made, options.seconds)}\n", flush=True)
            print("| asked for | requests | of the version | share |")
            print("| --- | --- | --- | --- |")
            for percent in SHARES:
                print(_share(made, percent, options.seconds), flush=True)


def _faulty(made: Small, fault: str, seconds: float) -> str:
    """A version with a planted fault, from its first request to the state without it."""
    number = len(made.built) + 1
    move = made.ledger.append("approved", made.version(number, fault))
    times: dict[str, float] = {}

    def watch() -> None:
        # As a client of the app sees it: from the first of its parts to the champion alone.
        while "back" not in times:
            roles = made.target.model(USE_CASE)["roles"]
            if roles.get("challenger", {}).get("percent", 0) > 0:
                times.setdefault("began", time.monotonic())
            elif "began" in times:
                times["back"] = time.monotonic()
            time.sleep(0.05)

    watcher = threading.Thread(target=watch)
    with made.loaded(RATE, 4 * seconds, "1", str(number)) as report:
        watcher.start()
        try:
            made.rollout().carry_out(move, "benchmark")
            why = "it was not found"
        except TakenBackError as error:
            why = str(error)
        watcher.join()
        found = report()
    took = times["back"] - times["began"]
    return f"| {fault} | {took:.1f} s | {sum(found.errors.values())} | {found.wrong} | {why} |"


def _good(made: Small, seconds: float) -> str:
    number = len(made.built) + 1
    move = made.ledger.append("approved", made.version(number))
    said: list[str] = []
    with made.loaded(RATE, 2 * seconds + 15, "1", str(number)) as report:
        try:
            made.rollout().carry_out(move, "benchmark", say=said.append)
            said = ["promoted"]
        except TakenBackError as error:
            said.append(f"taken back: {error}")
        found = report()
    return (
        f"canary 10 %, 50 %, full: {said[-1]}; {found.requests} requests, "
        f"{sum(found.errors.values())} failed, {found.wrong} wrong-version answers"
    )


def _share(made: Small, percent: float, seconds: float) -> str:
    """A canary that is only desired: nobody judges it here."""
    champion = desired_state.read(made.store, USE_CASE, "dev")["champion"]
    other = next(b for b in made.built.values() if b.digest != champion["digest"])
    roles = {"champion": champion, "challenger": {**other.role, "percent": percent}}
    decision = len(made.ledger.entries())
    desired_state.write(made.store, USE_CASE, "dev", roles, decision=decision, salt=f"{percent}")
    made.target.wait_for(USE_CASE, roles, 15.0)
    with made.loaded(RATE, 2 * seconds) as report:
        found = Counter(report().versions)
    total, own = sum(found.values()), found[other.version]
    return f"| {percent:g} % | {total} | {own} | {own / total:.2%} |"


if __name__ == "__main__":
    main()
