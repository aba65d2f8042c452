"""Commands about the platform itself: its state, its processes, its housekeeping."""

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

from mlops_assets import home, instance
from mlops_assets.cli.commands import Commands
from mlops_assets.instance import has_instance, open_instance
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.specs import load_documents, load_spec, load_specs
from mlops_assets.lib.storage.root import Storage

# Whether MLflow answers is what is asked: once is enough.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def add(commands: Commands) -> None:
    """Declare the commands."""
    status = commands.add_parser("status", help="what landed, what was trained, what serves")
    status.add_argument("use_case", nargs="?")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)

    prune = commands.add_parser("prune", help="remove what no kept version needs")
    prune.add_argument("use_case", nargs="?")
    prune.add_argument(
        "--dry-run", action="store_true", help="say what would go, and touch nothing"
    )
    prune.set_defaults(run=_prune)

    doctor = commands.add_parser("doctor", help="find what is wrong, and say what to do")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor, patience=IMPATIENT)

    demo = commands.add_parser("demo", help="the whole loop on this machine")
    demo.add_argument("--once", action="store_true", help="exit when the champion has answered")
    demo.add_argument(
        "--drift", action="store_true", help="then patients of another clinic, and what follows"
    )
    demo.set_defaults(run=_demo)

    dev = commands.add_parser("dev", help="`dagster dev` on the instance of MLOPS_HOME")
    dev.set_defaults(run=_dev)

    exporter = commands.add_parser("exporter", help="metrics of the platform for Prometheus")
    exporter.add_argument("--host", default="127.0.0.1", help="address to listen on")
    exporter.add_argument("--port", type=int, help="9108, or MLOPS_EXPORTER_PORT")
    exporter.set_defaults(run=_exporter)

    prepare = commands.add_parser("prepare", help="parse dbt before the first load")
    prepare.set_defaults(run=_prepare)

    clean = commands.add_parser("clean", help="remove the folder of all state")
    clean.set_defaults(run=_clean)


def _status(options: argparse.Namespace) -> int:
    from mlops_assets.operations.status import as_text, status

    specs = [load_spec(options.use_case)] if options.use_case else list(load_specs().values())
    states = [status(spec) for spec in specs]
    if options.json:
        value = states[0] if options.use_case else {state["use_case"]: state for state in states}
        print(json.dumps(value, indent=2))
    else:
        print("\n\n".join(as_text(state) for state in states))
    for spec in specs:
        Ledger(Storage(home.storage_root()), spec.name).verify()
    return 0


def _prune(options: argparse.Namespace) -> int:
    from mlops_assets.operations.prune import Pruning
    from mlops_assets.resources.mlflow import tracking

    specs = [load_spec(options.use_case)] if options.use_case else list(load_specs().values())
    if not has_instance():
        print(f"there is nothing in {home.home()} yet")
        return 0
    if options.dry_run:
        print("Nothing is touched; this would go:")
    with open_instance() as instance:
        for spec in specs:
            store = Storage(home.storage_root())
            for line in Pruning(spec, store, instance, tracking(), dry_run=options.dry_run).run():
                print(line, flush=True)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from mlops_assets.operations.doctor.examine import as_text, examine

    findings = examine()
    shown = [vars(finding) for finding in findings]
    print(json.dumps(shown, indent=2) if options.json else as_text(findings))
    return int(any(finding.level == "fail" for finding in findings))


def _demo(options: argparse.Namespace) -> int:
    from mlops_assets.demo.show import run_demo

    return run_demo(once=options.once, drift=options.drift)


def _dev(_: argparse.Namespace) -> int:
    folder = instance.prepare()
    if (other := os.environ.get(instance.VARIABLE)) and Path(other) != folder:
        print(f"{instance.VARIABLE}={other} is not used; unset it, or other commands ask that one")
    os.chdir(home.PROJECT)
    os.environ[instance.VARIABLE] = str(folder)
    dagster = str(Path(sys.executable).parent / "dagster")
    os.execv(dagster, [dagster, "dev", "--host", "127.0.0.1", "--port", str(home.port("dagster"))])


def _exporter(options: argparse.Namespace) -> int:
    from mlops_assets.exporter.server import serve

    return serve(options.host, options.port or home.port("exporter"))


def _prepare(_: argparse.Namespace) -> int:
    from mlops_assets.lib.features.dbt_project import feature_model, prepare
    from mlops_assets.lib.features.feature_check import check_features

    for document, spec in load_documents().values():
        check_features(document, spec)
        feature_model(prepare(spec.name, spec.contract), spec.name)
    return 0


def _clean(_: argparse.Namespace) -> int:
    from mlops_assets.demo.processes import LOGS, is_at_work, stop_all

    folder = home.home()
    if is_at_work(folder):
        raise ValueError(f"a demo is at work on {folder}: stop it with Ctrl-C first")
    stopped = stop_all(folder)
    if stopped:
        print(f"stopped {stopped} processes that a demo had left behind")
    if folder.is_dir():
        ours = {"storage", "dagster", "mlflow", "cache", "spool", "dagster.yaml", LOGS}
        ours |= {".demo.lock", instance.LOCK, instance.PARTIAL}
        ours |= {path.name for path in folder.glob(f"{instance.HALF_MADE}*")}
        ours |= {"logs", ".logs_queue", "history", "schedules", ".telemetry"}  # of Dagster
        others = sorted({entry.name for entry in folder.iterdir()} - ours)
        if others:
            raise ValueError(f"{folder} also holds {', '.join(others[:5])}; nothing is removed")
        shutil.rmtree(folder)
        print(f"removed {folder}")
    return 0
