"""The command that tests a serving app under load."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.spec.specs import UnknownUseCaseError

if TYPE_CHECKING:
    from mlops_assets.load import Payloads

LATENCIES = ("p50", "p90", "p95", "p99", "p99.9", "max")


def add(commands: Commands) -> None:
    """Declare the command."""
    load = commands.add_parser(
        "load",
        help="test a serving app under load",
        epilog="Exits with 1 if a limit is broken or an answer is wrong, 2 for a wrong call.",
    )
    load.add_argument("url", nargs="?", help="default: http://127.0.0.1:$MLOPS_SERVING_PORT")
    load.add_argument("--path", help="default: /predict, with --check /predict/USE_CASE")

    how = load.add_argument_group("how")
    loop = how.add_mutually_exclusive_group()
    loop.add_argument("--rate", type=float, help="open loop: requests a second; default: 100")
    loop.add_argument("--connections", type=int, help="closed loop: requests on their way")
    how.add_argument("--seconds", type=float, default=10.0, help="default: %(default)s")
    how.add_argument("--warm-up", type=float, default=2.0, help="seconds; default: %(default)s")
    how.add_argument("--timeout", type=float, default=10.0, help="seconds; default: %(default)s")
    how.add_argument("--header", action="append", default=[], metavar="NAME=VALUE")
    how.add_argument(
        "--header-env",
        action="append",
        default=[],
        metavar="NAME=VARIABLE",
        help="a header whose value, such as an API key, is in the environment",
    )
    how.add_argument("--ca", type=Path, help="certificates to trust, for https")

    what = load.add_argument_group("what", "default: the example row of the server's /openapi.json")
    what.add_argument(
        "--rows", type=Path, help="a file of rows: JSON Lines, a JSON list or Parquet"
    )
    what.add_argument(
        "--check",
        metavar="USE_CASE",
        help="hold each answer against the bundles that should serve; rows: their golden ones",
    )
    what.add_argument("--batch", type=int, default=1, help="rows a request; default: %(default)s")

    limits = load.add_argument_group("limits")
    for name in LATENCIES:
        limits.add_argument(f"--{name}", dest=name, metavar="TIME", help="for example 50ms")
    limits.add_argument("--errors", default="0", help="a number or a share (0.1%%); default: 0")
    limits.add_argument("--throughput", type=float, default=0.0, help="answers a second")
    load.add_argument("--json", action="store_true", help="for programs")
    load.set_defaults(run=_load)


def _load(options: argparse.Namespace) -> int:
    try:
        return _test(options)
    except (FileNotFoundError, UnknownUseCaseError, ValueError) as error:
        # Whoever calls it from a pipeline must be able to tell this from a limit that is broken.
        print(f"mlops load: {error}", file=sys.stderr)
        return 2


def _test(options: argparse.Namespace) -> int:
    from mlops_assets.load import Limits, LoadTester

    latency = {name: getattr(options, name) for name in LATENCIES}
    limits = Limits.parse(
        options.errors, options.throughput, {n: text for n, text in latency.items() if text}
    )
    url = options.url or f"http://127.0.0.1:{home.port('serving')}"
    headers = dict(_pair(text) for text in options.header)
    for name, variable in map(_pair, options.header_env):
        if not (value := os.environ.get(variable)):
            raise ValueError(f"header {name}: the variable {variable} is not set")
        headers[name] = value
    path = options.path or _path(options, url, headers)
    tester = LoadTester(
        url,
        _payloads(options, url, headers, path),
        path=path,
        headers=headers,
        warm_up=options.warm_up,
        timeout=options.timeout,
        ca=options.ca,
    )
    if options.connections is None:
        report = tester.open(options.rate or 100.0, options.seconds)
    else:
        report = tester.closed(options.connections, options.seconds)
    broken = limits.broken(report)
    if options.json:
        print(json.dumps({**report.as_json(), "broken": broken}, indent=2))
    else:
        print(report.as_markdown())
        print("Every limit is kept." if not broken else "Broken:", flush=True)
    for line in broken:
        print(f"- {line}", file=sys.stderr)
    return int(bool(broken))


def _path(options: argparse.Namespace, url: str, headers: dict[str, str]) -> str:
    """Where predictions are asked for, however many use cases the server has."""
    from mlops_assets.load.payloads import PREDICT, read_use_cases

    if options.check:
        return f"{PREDICT}/{options.check}"
    names = read_use_cases(url, headers, options.ca)
    if len(names) > 1:
        paths = " or ".join(f"{PREDICT}/{name}" for name in names)
        raise ValueError(f"{url} has several use cases: give --path {paths}, or --check")
    return PREDICT


def _payloads(
    options: argparse.Namespace, url: str, headers: dict[str, str], path: str
) -> "Payloads":
    from mlops_assets.load import Payloads
    from mlops_assets.load.payloads import read_bundles, read_example, read_rows

    rows: list[Any] | None = read_rows(options.rows) if options.rows else None
    expected: dict[str, list[float]] = {}
    if options.check:
        rows, expected = read_bundles(_bundles(options.check), options.check, rows)
    elif rows is None:
        rows = [read_example(url, headers, options.ca, path)] * options.batch
    return Payloads.of(rows, options.batch, expected)


def _bundles(use_case: str) -> dict[str, Path]:
    """By digest, the folder of every bundle that should answer."""
    from mlops_assets.lib.records import desired_state
    from mlops_assets.lib.spec.specs import load_spec
    from mlops_assets.lib.storage.root import Storage

    spec, store = load_spec(use_case), Storage(home.storage_root())
    roles = desired_state.read(store, spec.name, home.environment())
    # A shadow never answers.
    answering = [role for name, role in roles.items() if name != "shadow"]
    if not answering:
        raise ValueError(f"nothing of {spec.name} should serve in {home.environment()!r}")
    return {role["digest"]: store.local(role["bundle"]) for role in answering}


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"{text!r} is not of the form NAME=...")
    return name, value
