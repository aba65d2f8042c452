"""Measures everything that docs/figures.md says about serving; both sides in one run.

    python -m tests.benchmarks.serving [PART ...] [--seconds 5] [--rounds 5] [--algorithm NAME]

On a quiet machine, if there is one: the ratios bear noise, the absolute figures do not.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mlops_assets.load import LoadTester, Payloads
from tests.benchmarks.serving.drive import CLIENT, alternate, median_ratio, table
from tests.benchmarks.serving.footprint import footprint
from tests.benchmarks.serving.model import Model, make
from tests.benchmarks.serving.parity import parity
from tests.benchmarks.serving.peers.start import FORMS, PEERS
from tests.benchmarks.serving.servers import constant, ours

CONNECTIONS = (1, 32)
RATE = 500.0


def against_constant(model: Model, bodies: list[bytes], seconds: float, rounds: int) -> None:
    """Print our figures beside those of an app that computes nothing."""
    with (
        ours(model.root, bodies) as served,
        constant(model.folder / "contract.json", bodies) as idle,
    ):
        for connections in CONNECTIONS:
            found = alternate([served, idle], connections, seconds, rounds)
            print(f"\n{connections} connections ({CLIENT}); medians of {rounds} rounds\n")
            print(table(found, served.name), flush=True)
            if connections == 1:
                ratio = median_ratio(found, served.name, idle.name, "p50_ms")
                print(f"\np50 against the constant's: {ratio:.2f} times (target: at most 2.5)")
            else:
                ratio = median_ratio(found, served.name, idle.name, "per_second")
                print(f"\nagainst the constant: {ratio:.2f} of it (target: at least 0.6)")


def against_peers(model: Model, bodies: list[bytes], seconds: float, rounds: int) -> None:
    """Print our figures beside those of each peer, with the model in both forms."""
    for peer in PEERS:
        for form in FORMS:
            try:
                with ours(model.root, bodies) as served, peer.serving(model, form) as other:
                    found = alternate([served, other], CONNECTIONS[-1], seconds, rounds)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                print(f"\n{peer.name}, {form}: not measured: {error}", flush=True)
                continue
            ratio = median_ratio(found, served.name, other.name, "per_second")
            print(f"\n{CONNECTIONS[-1]} connections ({CLIENT}); medians of {rounds} rounds\n")
            print(table(found, served.name))
            print(
                f"\nagainst {other.name}: {ratio:.1f} times (target: {peer.target:g})", flush=True
            )


def open_loop(model: Model, bodies: list[bytes], seconds: float, rounds: int) -> None:
    """Print percentiles at a constant rate, beside those of the constant."""
    found: dict[str, list[dict[str, float]]] = {}
    with (
        ours(model.root, bodies) as served,
        constant(model.folder / "contract.json", bodies) as idle,
    ):
        for _ in range(rounds):
            for server in (served, idle):
                tester = LoadTester(server.url, Payloads(tuple(bodies)))
                report = tester.open(RATE, seconds)
                if report.failed:
                    raise RuntimeError(f"{server.name}: {report.errors}")
                found.setdefault(server.name, []).append(
                    {**report.latency_ms, "late": report.late_ms["p99"]}
                )
    print(f"\nopen loop, {RATE:g} requests/s, {seconds:g} s; medians of {rounds} rounds\n")
    print("| ms | p50 | p99 | p99.9 | the client's own delay, p99 |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, reports in found.items():
        values = [statistics.median(r[n] for r in reports) for n in ("p50", "p99", "p99.9", "late")]
        print(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |", flush=True)


def two_workers(model: Model, bodies: list[bytes], seconds: float, rounds: int) -> None:
    """Print what two workers do against one."""
    told = subprocess.run(
        [sys.executable, "-m", "serving", "--help"], capture_output=True, text=True, check=True
    ).stdout
    if "--workers" not in told:
        print("\ntwo workers: not measured: this server has one only")
        return
    with ours(model.root, bodies) as one, ours(model.root, bodies, workers=2) as two:
        found = alternate([two, one], CONNECTIONS[-1], seconds, rounds)
        print(f"\n{CONNECTIONS[-1]} connections ({CLIENT}); medians of {rounds} rounds\n")
        print(table(found, two.name), flush=True)


MEASURED = {
    "constant": against_constant,
    "open": open_loop,
    "workers": two_workers,
    "peers": against_peers,
}


def main() -> None:
    """Measure what is named, or everything."""
    parts = (*MEASURED, "footprint", "parity")
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.serving")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"any of: {', '.join(parts)}")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--algorithm", default="logistic_regression")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(parts):
        parser.error(f"unknown: {', '.join(unknown)}; there are: {', '.join(parts)}")
    chosen = options.parts or parts
    if set(chosen) - {"parity"}:
        with tempfile.TemporaryDirectory() as scratch:
            model = make(Path(scratch), options.algorithm)
            bodies = [json.dumps(row).encode() for row in model.rows]
            print(f"{len(bodies)} rows of Cleveland, in turn; {options.algorithm}", flush=True)
            for name, measure in MEASURED.items():
                if name in chosen:
                    measure(model, bodies, options.seconds, options.rounds)
            if "footprint" in chosen:
                footprint(model, bodies, options.seconds)
    if "parity" in chosen:
        parity()


if __name__ == "__main__":
    main()
