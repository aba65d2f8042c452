"""Drives servers in turn, and says what each did: wrk where it is installed, else `mlops load`.

In turn and in rounds (A B A B ...), since other work on the machine comes and goes: a ratio is
taken within a round, and the median of the rounds is what counts.
"""

import json
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.load import LoadTester, Payloads
from tests.benchmarks.serving.servers import Running

WRK = shutil.which("wrk")
CLIENT = "wrk" if WRK else "mlops load"

# Each body is made into a request once; wrk then goes through them.
LUA = """
local requests, next = {}, 0
function init(arguments)
  for line in io.lines(arguments[1]) do
    local headers = {["Content-Type"] = "application/json"}
    requests[#requests + 1] = wrk.format("POST", nil, headers, line)
  end
end
function request()
  next = next % #requests + 1
  return requests[next]
end
function done(summary, latency)
  local errors = summary.errors
  print(string.format('{"requests": %d, "microseconds": %d, "p50": %d, "p99": %d, "errors": %d}',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
"""


@dataclass(frozen=True)
class Driven:
    """What one server did in one round.

    Attributes:
        per_second: Requests answered a second.
        p50_ms: The median latency, in milliseconds.
        p99_ms: The latency that one in a hundred exceeds.
        cpu_us: CPU time of the server's processes a request, in microseconds.
    """

    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float


def drive(server: Running, connections: int, seconds: float) -> Driven:
    """Keep a number of connections to a server busy.

    Raises:
        RuntimeError: A request was not answered with 200: then the figures say nothing.
    """
    before = server.cpu_seconds()
    if WRK is None:
        tester = LoadTester(server.url, Payloads(tuple(server.bodies)), server.path, warm_up=0)
        report = tester.closed(connections, seconds)
        latency = report.latency_ms or {"p50": 0.0, "p99": 0.0}
        requests, took, errors = report.requests, report.seconds, report.failed
        p50, p99 = latency["p50"], latency["p99"]
    else:
        with tempfile.TemporaryDirectory() as scratch:
            script, bodies = Path(scratch) / "rows.lua", Path(scratch) / "rows.jsonl"
            script.write_text(LUA)
            bodies.write_bytes(b"\n".join(server.bodies))
            command = [WRK, "-t1", f"-c{connections}", f"-d{seconds:g}s", "--timeout", "10s"]
            command += ["-s", str(script), server.url + server.path, "--", str(bodies)]
            said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found = json.loads(said.splitlines()[-1])
        requests, took, errors = found["requests"], found["microseconds"] / 1e6, found["errors"]
        p50, p99 = found["p50"] / 1e3, found["p99"] / 1e3
    if errors or not requests:
        raise RuntimeError(f"{server.name}: {errors} of {requests} requests failed")
    spent = server.cpu_seconds() - before
    return Driven(requests / took, p50, p99, spent / requests * 1e6)


def alternate(
    servers: Sequence[Running], connections: int, seconds: float, rounds: int
) -> dict[str, list[Driven]]:
    """Drive each server in each round; by name, what it did."""
    for server in servers:
        drive(server, connections, 1)  # what is made at the first request is made
    found: dict[str, list[Driven]] = {server.name: [] for server in servers}
    for _ in range(rounds):
        for server in servers:
            found[server.name].append(drive(server, connections, seconds))
    return found


def table(found: Mapping[str, Sequence[Driven]], first: str) -> str:
    """Medians, and the ratio of one server to each other, as a Markdown table."""
    lines = [
        f"| | requests/s | {first} does | p50, ms | {first} takes | p99, ms | CPU a request, µs |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    for name, rounds in found.items():
        rate = median_ratio(found, first, name, "per_second")
        p50 = median_ratio(found, first, name, "p50_ms")
        values = {
            field: statistics.median(getattr(each, field) for each in rounds)
            for field in ("per_second", "p50_ms", "p99_ms", "cpu_us")
        }
        lines.append(
            f"| {name} | {values['per_second']:,.0f} | {rate:.2f} times | {values['p50_ms']:.2f} "
            f"| {p50:.2f} times | {values['p99_ms']:.2f} | {values['cpu_us']:,.0f} |"
        )
    return "\n".join(lines)


def median_ratio(found: Mapping[str, Sequence[Driven]], one: str, other: str, field: str) -> float:
    """The median over the rounds of what one server did against another."""
    pairs = zip(found[one], found[other], strict=True)
    return float(statistics.median(getattr(a, field) / getattr(b, field) for a, b in pairs))
