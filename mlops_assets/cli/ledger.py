"""Commands about the ledger: what was decided, whether it holds, what was champion when."""

import argparse
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.delivery import DAYS, delivery, landing_times
from mlops_assets.lib.records.history import champion, moment, until
from mlops_assets.lib.records.ledger import BATCH_DECISIONS, Ledger
from mlops_assets.lib.spec.specs import load_spec, load_specs
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage


def add(commands: Commands) -> None:
    """Declare the commands."""
    ledger = commands.add_parser("ledger", help="every decision about a model")
    actions = ledger.add_subparsers(required=True, metavar="ACTION")
    show = actions.add_parser("show", help="every entry, first to last")
    show.add_argument("use_case", nargs="?")
    show.add_argument("--json", action="store_true", help="whole entries, one a line")
    show.set_defaults(run=_show)
    verify = actions.add_parser("verify", help="find an entry that was edited, removed or moved")
    verify.add_argument("use_case", nargs="?")
    verify.set_defaults(run=_verify)
    at = actions.add_parser("at", help="what was champion at a date, and why")
    at.add_argument("date", help="2026-03-31 (the end of that day, UTC) or 2026-03-31T14:30+02:00")
    at.add_argument("use_case", nargs="?")
    at.set_defaults(run=_at)

    measured = commands.add_parser(
        "delivery", help="how often, how fast and how well versions go out"
    )
    measured.add_argument("use_case", nargs="?")
    measured.add_argument("--days", type=float, default=DAYS, help="of the window that ends now")
    measured.set_defaults(run=_delivery)


def _ledgers(options: argparse.Namespace) -> Iterator[tuple[UseCase, Ledger]]:
    specs = [load_spec(options.use_case)] if options.use_case else list(load_specs().values())
    for spec in specs:
        yield spec, Ledger(Storage(home.storage_root()), spec.name)


def _show(options: argparse.Namespace) -> int:
    for spec, ledger in _ledgers(options):
        for entry in ledger.entries():
            if options.json:
                print(json.dumps(entry, sort_keys=True))
                continue
            reasons = "; ".join(entry.get("reasons") or [])
            print(
                f"{spec.name} {entry['sequence']} {entry['time'][:19]}Z {entry['decision']} "
                f"{_about(entry)} by {entry['actor']}{_trained(entry)}"
                + (f": {reasons}" if reasons else "")
            )
        ledger.verify()  # what was shown may be forged: then this says so
    return 0


def _verify(options: argparse.Namespace) -> int:
    from mlops_assets.resources.anchor import open_ledger

    for spec, ledger in _ledgers(options):
        entries = ledger.verify()
        head = f", head {entries[-1]['hash'][:12]}" if entries else ""
        said = f"{len(entries)} entries, the chain holds{head}"
        anchor = open_ledger(ledger.storage, spec.name).anchor
        if anchor is not None:
            said += f"; {anchor.hold(entries)}"
        print(f"{spec.name}: {said}")
    return 0


def _at(options: argparse.Namespace) -> int:
    then = moment(options.date)
    for spec, ledger in _ledgers(options):
        entries = until(ledger.verify(), then)
        crowned = champion(entries)
        if crowned is None:
            print(f"{spec.name}: nothing was champion at {options.date}")
            continue
        print(
            f"{spec.name}: version {crowned['version']} (bundle {crowned['bundle'][:12]}), "
            f"champion since {crowned['time'][:19]}Z"
        )
        number = crowned.get("decision_of")
        decided = next((entry for entry in entries if entry["sequence"] == number), None)
        for line in _why(decided) if decided else ():
            print(f"  {line}")
    return 0


def _delivery(options: argparse.Namespace) -> int:
    for spec, ledger in _ledgers(options):
        landed = landing_times(Batches(ledger.storage, spec.name).receipts())
        found = delivery(ledger.verify(), landed, datetime.now(UTC), options.days)
        share = "" if found.failure_share is None else f" ({found.failure_share:.0%})"
        print(f"{spec.name}, the last {found.days:g} days")
        print(f"  deployments          {found.deployments} ({found.per_week:.1f} a week)")
        print(f"  batch to champion    {_span(found.lead_seconds)}")
        print(f"  failed rollouts      {found.failed} of {found.rollouts}{share}")
        print(f"  time to restore      {_span(found.restore_seconds)}")
    return 0


def _span(seconds: float | None) -> str:
    if seconds is None:
        return "none to measure"
    return f"median {timedelta(seconds=round(seconds))}"


def _why(entry: dict[str, Any]) -> Iterator[str]:
    """How a version came to serve."""
    reasons = "; ".join(entry.get("reasons") or [])
    yield (
        f"entry {entry['sequence']}, {entry['time'][:19]}Z: {entry['decision'].replace('_', ' ')} "
        f"by {entry['actor']}{_trained(entry)}" + (f": {reasons}" if reasons else "")
    )
    if origin := entry.get("origin"):
        number = origin["entry"].partition(":")[0]
        yield (
            f"adopted from {origin['environment']} ({origin['root']}): version "
            f"{origin['version']} there, by entry {number} of the ledger there"
        )
    if entry.get("verdict"):
        yield f"verdict: {entry['verdict']['outcome']}: {entry['verdict']['said']}"
    if entry.get("training_set"):
        yield f"training set {entry['training_set'][:12]}"
    for batch in entry.get("batches", ()):
        yield f"batch {batch}"
    for check in entry.get("checks", ()):
        yield f"{check['status']} {check['asset']} {check['check']}: {check['said']}"


def _trained(entry: dict[str, Any]) -> str:
    """Why there was a training, in brackets."""
    retrain = entry.get("retrain")
    return f" ({retrain['trigger'].replace('_', ' ')}: {retrain['reason']})" if retrain else ""


def _about(entry: dict[str, Any]) -> str:
    """What a decision is about, in words."""
    if entry["decision"] == "erased":
        rows = sum(map(len, entry["rows"].values()))
        logged = entry.get("predictions", 0)
        more = f", {logged} rows of the prediction log" if logged else ""
        return f"{rows} rows of {len(entry['rows'])} batches{more}"
    if entry["decision"] in BATCH_DECISIONS:
        return f"batch {entry['batch']}"
    of = f"version {entry['version']} ({str(entry['bundle'])[:12]})"
    if origin := entry.get("origin"):
        return f"{of}, which is version {origin['version']} of {origin['environment']},"
    if entry["decision"] == "rolled_back":
        return f"to {of} from version {entry['from']['version']}"
    return of
