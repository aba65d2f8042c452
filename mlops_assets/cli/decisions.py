"""Commands by which a person decides what serves."""

import argparse
import getpass
import time

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.instance import open_instance
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.storage.root import Storage

HELP = {
    "approve": "let a version that waits for a person be rolled out",
    "reject": "keep a version that waits for a person out",
    "promote": "roll out a version whose contest with the champion was undecided",
}


def add(commands: Commands) -> None:
    """Declare the commands."""
    for answer, said in HELP.items():
        command = commands.add_parser(answer, help=said)
        command.add_argument("use_case")
        command.add_argument("version", help="its number, or the start of its bundle's digest")
        _by(command)
        command.set_defaults(run=_decide, answer=answer)

    adopt = commands.add_parser(
        "adopt", help="approve here what serves in another environment, and bring it over"
    )
    adopt.add_argument("use_case")
    adopt.add_argument(
        "version",
        nargs="?",
        help="its number there, or the start of its bundle's digest; default: the champion there",
    )
    adopt.add_argument(
        "--from",
        required=True,
        dest="source",
        metavar="ROOT",
        help="the storage root there: a folder or s3://bucket/prefix; it is only read",
    )
    _by(adopt)
    adopt.set_defaults(run=_adopt)

    rollback = commands.add_parser("rollback", help="put a former champion back, at once")
    rollback.add_argument("use_case")
    rollback.add_argument(
        "--to", help="a version, a digest or a date (2026-03-31); default: the champion before"
    )
    _by(rollback)
    rollback.set_defaults(run=_rollback)

    control = commands.add_parser("rollout", help="hold, hurry or stop a rollout under way")
    control.add_argument("use_case")
    control.add_argument(
        "action",
        choices=("pause", "resume", "promote", "abort"),
        help="promote: leave the remaining steps out; abort: put back what served before",
    )
    _by(control)
    control.set_defaults(run=_control)


def _by(command: argparse.ArgumentParser) -> None:
    command.add_argument("--by", help="who decides; default: your user name")
    command.add_argument("--reason", required=True, help="why: it goes into the ledger")


def _decide(options: argparse.Namespace) -> int:
    from mlops_assets.lib.features.dbt_project import feature_model, prepare
    from mlops_assets.operations.decide import decide
    from mlops_assets.resources.mlflow import tracking
    from mlops_assets.stages.evidence import batch_checks

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    model = feature_model(prepare(spec.name, spec.contract), spec.name)
    with open_instance() as instance:
        entry = decide(
            instance,
            store,
            spec,
            lambda lineage: batch_checks(spec, model, lineage),
            options.answer,
            options.version,
            actor=options.by or getpass.getuser(),
            reason=options.reason,
        )
    number = entry["version"]
    print(f"version {number} is {entry['decision']} (entry {entry['sequence']} of the ledger)")
    if entry["decision"] == "approved":
        print("the rollout sensor makes it serve")
    tracking().describe(spec.name, entry)
    return 0


def _adopt(options: argparse.Namespace) -> int:
    import dagster as dg

    from mlops_assets.lib.features.dbt_project import feature_model, prepare
    from mlops_assets.operations.adopt.adopt import adopt
    from mlops_assets.resources.mlflow import tracking
    from mlops_assets.stages.evidence import batch_checks

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    model, mlflow = feature_model(prepare(spec.name, spec.contract), spec.name), tracking()
    done = adopt(
        store,
        spec,
        lambda lineage: batch_checks(spec, model, lineage),
        mlflow,
        Storage(options.source),
        options.version,
        actor=options.by or getpass.getuser(),
        reason=options.reason,
    )
    entry = done.entry
    number, decision = entry["version"], entry["decision"].replace("_", " ")
    said = f"version {number} is {decision} (entry {entry['sequence']} of the ledger)"
    if not done.is_new:
        print(f"{said} already, by the same bundle: nothing is written")
        if entry.get("origin"):  # the command may have been killed after its line
            mlflow.describe(spec.name, entry)
        return 0
    origin, verdict = entry["origin"], entry["verdict"]
    print(f"{said}: version {origin['version']} of {origin['environment']}, {done.signed}")
    print(f"  {len(entry['checks'])} checks passed there; here: {verdict['said']}")
    print("the rollout sensor makes it serve")
    # Beside what the gate has said, where people look.
    shown = {"decision": "approved", "version": number, "by": entry["actor"], **origin}
    asset = dg.AssetKey([spec.name, "promotion"])
    with open_instance() as instance:
        instance.report_runless_asset_event(dg.AssetObservation(asset, metadata=shown))
    mlflow.describe(spec.name, entry)
    return 0


def _rollback(options: argparse.Namespace) -> int:
    from mlops_assets.resources.anchor import open_ledger
    from mlops_assets.resources.mlflow import tracking
    from mlops_assets.resources.targets import rollout_target
    from mlops_assets.rollout.rollback import decide_rollback
    from mlops_assets.rollout.rollout import Rollout

    started = time.monotonic()
    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    actor, ledger = options.by or getpass.getuser(), open_ledger(store, spec.name)
    move = decide_rollback(store, ledger, to=options.to, actor=actor, reason=options.reason)
    done = move["decision"].replace("_", " ")
    print(f"version {move['version']}: {done} (entry {move['sequence']} of the ledger)", flush=True)
    rollout = Rollout(spec, store, ledger, tracking(), rollout_target())

    def say(sentence: str) -> None:
        print(f"{sentence}, {time.monotonic() - started:.1f} s after the command", flush=True)

    rollout.carry_out(move, actor, say)
    say(f"version {move['version']} is the champion, in the ledger and in MLflow")
    return 0


def _control(options: argparse.Namespace) -> int:
    from mlops_assets.resources.anchor import open_ledger
    from mlops_assets.resources.targets import rollout_target
    from mlops_assets.rollout.control import control

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    actor, ledger = options.by or getpass.getuser(), open_ledger(store, spec.name)
    target = rollout_target()
    action, reason = options.action, options.reason
    print(control(spec, store, ledger, target, action, actor=actor, reason=reason))
    return 0
