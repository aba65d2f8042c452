"""The ``mlops`` command: a thin layer over the functions that the assets use."""

import argparse
import getpass
import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from mlops_assets import home
from mlops_assets.lib.batches import Batches, batch_key
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.ledger import BATCH_DECISIONS, Ledger, LedgerError
from mlops_assets.lib.specs import UnknownUseCaseError, load_spec, load_specs
from mlops_assets.lib.storage import Storage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 if it did what was asked, 1 if not (the reason is on standard error), 2 for a wrong call.
    """
    options = _parser().parse_args(arguments)
    try:
        return int(options.run(options))
    except (UnknownUseCaseError, LedgerError, OSError, ValueError) as error:
        print(f"mlops: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlops", description=__doc__.split("\n")[0])
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    land = commands.add_parser("land", help="hand a file over to the landing place")
    land.add_argument("use_case")
    land.add_argument("file", type=Path)
    land.set_defaults(run=_land)

    status = commands.add_parser("status", help="what landed, what was trained, what serves")
    status.add_argument("use_case", nargs="?")
    status.add_argument("--json", action="store_true", help="for programs")
    status.set_defaults(run=_status)

    serve = commands.add_parser("serve", help="start the serving app of a use case")
    serve.add_argument("use_case")
    serve.add_argument("--port", type=int, help="default: MLOPS_SERVING_PORT or 8000")
    serve.set_defaults(run=_serve)

    ledger = commands.add_parser("ledger", help="every decision about a model")
    ledger.add_argument("action", choices=("show", "verify"))
    ledger.add_argument("use_case", nargs="?")
    ledger.set_defaults(run=_ledger)

    withdraw = commands.add_parser("withdraw", help="take a bad batch out of all later training")
    withdraw.add_argument("use_case")
    withdraw.add_argument("batch", help="its key, as `mlops status` shows it")
    withdraw.add_argument("--reason", default="no reason given", help="goes into the ledger")
    withdraw.add_argument("--by", default=None, help="who decides; default: the user")
    withdraw.add_argument("--undo", action="store_true", help="put it back")
    withdraw.set_defaults(run=_withdraw)

    prune = commands.add_parser("prune", help="remove what no kept version needs")
    prune.add_argument("use_case", nargs="?")
    prune.add_argument(
        "--dry-run", action="store_true", help="say what would go, and touch nothing"
    )
    prune.set_defaults(run=_prune)

    doctor = commands.add_parser("doctor", help="find what is wrong, and say what to do")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor)

    demo = commands.add_parser("demo", help="the whole loop on this machine")
    demo.add_argument("--once", action="store_true", help="exit when the champion has answered")
    demo.set_defaults(run=_demo)

    dev = commands.add_parser("dev", help="`dagster dev` on the instance of MLOPS_HOME")
    dev.set_defaults(run=_dev)

    prepare = commands.add_parser("prepare", help="parse dbt before the first load")
    prepare.set_defaults(run=_prepare)

    clean = commands.add_parser("clean", help="remove the folder of all state")
    clean.set_defaults(run=_clean)
    return parser


def _land(options: argparse.Namespace) -> int:
    spec = load_spec(options.use_case)
    file: Path = options.file
    if file.is_dir():
        raise IsADirectoryError(f"{file} is a folder; name the file to land")
    if not file.is_file():
        raise FileNotFoundError(f"there is no file {file}")
    batches = Batches(Storage(home.storage_root()), spec.name)
    content = file_digest(file)
    key = batch_key(file.name, content)
    twins = [r for r in batches.receipts() if r.content == content]
    batches.land(file)
    if any(twin.key == key for twin in twins):
        print(f"{file.name} has landed before, as batch {key}; nothing is done twice")
    elif twins:
        print(f"{file.name} landed as batch {key}")
        print(f"its content is that of batch {twins[0].key}: it will be refused as a duplicate")
    else:
        print(f"{file.name} landed as batch {key}")
    return 0


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


def _serve(options: argparse.Namespace) -> int:
    spec = load_spec(options.use_case)
    port = options.port if options.port is not None else home.port("serving")
    command = [sys.executable, "-m", "serving", "--use-case", spec.name, "--port", str(port)]
    command += ["--storage-root", str(home.storage_root()), "--environment", home.environment()]
    os.execv(sys.executable, command)


def _ledger(options: argparse.Namespace) -> int:
    specs = [load_spec(options.use_case)] if options.use_case else list(load_specs().values())
    for spec in specs:
        ledger = Ledger(Storage(home.storage_root()), spec.name)
        if options.action == "verify":
            entries = ledger.verify()
            head = f", head {entries[-1]['hash'][:12]}" if entries else ""
            print(f"{spec.name}: {len(entries)} entries, the chain holds{head}")
            continue
        for entry in ledger.entries():
            reasons = "; ".join(entry.get("reasons") or [])
            about = (
                f"batch {entry['batch']}"
                if entry["decision"] in BATCH_DECISIONS
                else f"version {entry['version']} ({str(entry['bundle'])[:12]})"
            )
            print(
                f"{spec.name} {entry['sequence']} {entry['time'][:19]}Z {entry['decision']} "
                f"{about} by {entry['actor']}" + (f": {reasons}" if reasons else "")
            )
        ledger.verify()  # what was shown may be forged: then this says so
    return 0


def _withdraw(options: argparse.Namespace) -> int:
    from mlops_assets.operations.withdraw import serves_withdrawn, withdraw

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    actor = options.by or getpass.getuser()
    entry = withdraw(
        store, spec, options.batch, actor=actor, reason=options.reason, undo=options.undo
    )
    done = "restored" if options.undo else "withdrawn"
    if entry is None:
        print(f"batch {options.batch} is {done} already; nothing is changed")
        return 0
    print(f"batch {options.batch} is {done} (entry {entry['sequence']} of the ledger)")
    print("the retrain sensor makes the next training set accordingly")
    if serves_withdrawn(store, Ledger(store, spec.name).entries()):
        print("the champion was trained on it and serves until the next version is promoted")
    return 0


def _prune(options: argparse.Namespace) -> int:
    from dagster import DagsterInstance

    from mlops_assets.operations.prune import Pruning
    from mlops_assets.resources import MlflowTracking

    specs = [load_spec(options.use_case)] if options.use_case else list(load_specs().values())
    if not (home.home() / "dagster").is_dir():
        print(f"there is nothing in {home.home()} yet")
        return 0
    mlflow = MlflowTracking(
        tracking_uri=home.mlflow_uri(), ui=home.url("mlflow"), dagster_ui=home.url("dagster")
    )
    if options.dry_run:
        print("Nothing is touched; this would go:")
    with DagsterInstance.from_config(str(home.write_dagster_home())) as instance:
        for spec in specs:
            store = Storage(home.storage_root())
            for line in Pruning(spec, store, instance, mlflow, dry_run=options.dry_run).run():
                print(line, flush=True)
    return 0


def _doctor(options: argparse.Namespace) -> int:
    from mlops_assets.operations.doctor import as_text, examine

    findings = examine()
    shown = [vars(finding) for finding in findings]
    print(json.dumps(shown, indent=2) if options.json else as_text(findings))
    return int(any(finding.level == "fail" for finding in findings))


def _demo(options: argparse.Namespace) -> int:
    from mlops_assets.demo.show import run_demo

    return run_demo(once=options.once)


def _dev(_: argparse.Namespace) -> int:
    folder = home.write_dagster_home()
    os.chdir(home.PROJECT)
    os.environ["DAGSTER_HOME"] = str(folder)
    dagster = str(Path(sys.executable).parent / "dagster")
    os.execv(dagster, [dagster, "dev", "--host", "127.0.0.1", "--port", str(home.port("dagster"))])


def _prepare(_: argparse.Namespace) -> int:
    from mlops_assets.lib.dbt_project import feature_model, prepare

    for spec in load_specs().values():
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
        ours = {"storage", "dagster", "mlflow", "dagster.yaml", ".demo.lock", LOGS}
        ours |= {"logs", ".logs_queue", "history", "schedules", ".telemetry"}  # of Dagster
        others = sorted({entry.name for entry in folder.iterdir()} - ours)
        if others:
            raise ValueError(f"{folder} also holds {', '.join(others[:5])}; nothing is removed")
        shutil.rmtree(folder)
        print(f"removed {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
