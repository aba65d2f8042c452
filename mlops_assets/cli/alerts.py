"""Commands about alerts: what is open, and whether a message arrives."""

import argparse
import json
from datetime import UTC, datetime

from mlops_assets import home
from mlops_assets.alerting import book
from mlops_assets.alerting.alert import LEVELS, at_least, test_alert
from mlops_assets.alerting.channels import FILE_VARIABLE, VARIABLE, channels
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.spec.specs import load_spec, load_specs
from mlops_assets.lib.storage.root import Storage


def add(commands: Commands) -> None:
    """Declare the commands."""
    alerts = commands.add_parser("alerts", help="the open alerts, or a test of the channels")
    alerts.add_argument("--use-case", help="default: all of them")
    alerts.add_argument("--json", action="store_true", help="for programs")
    alerts.set_defaults(run=_open)
    verbs = alerts.add_subparsers(metavar="test")
    test = verbs.add_parser("test", help="send a test alert to every channel that takes its level")
    test.add_argument("--level", choices=LEVELS, default="critical")
    test.set_defaults(run=_test)


def _open(options: argparse.Namespace) -> int:
    names = [load_spec(options.use_case).name] if options.use_case else list(load_specs())
    store = Storage(home.storage_root())
    books = [book.read(store, name) for name in names]
    found = [entry for each in books for entry in each.entries.values() if entry.over is None]
    if options.json:
        shown = [{**vars(entry.alert), "since": entry.since} for entry in found]
        print(json.dumps(shown, indent=2))
        return 0
    for entry in found:
        told = sorted(name for name, told in entry.told.items() if told.level)
        print(f"{entry.alert.title} (told to: {', '.join(told) or 'nobody'})")
        for line in entry.alert.body(entry.since, None).splitlines():
            print(f"  {line}")
    for each in books:
        for name, rest in each.resting.items():
            failed = f"{rest.failures} messages of {each.use_case} in a row"
            print(f"channel {name} did not take {failed}: {rest.said}")
    for problem in channels()[1]:
        print(problem)
    if not found:
        print("no alert is open")
    return 0


def _test(options: argparse.Namespace) -> int:
    known, wrong = channels()
    for problem in wrong:
        print(problem)
    if not known and not wrong:
        raise ValueError(f"no channel is named: set {VARIABLE} or {FILE_VARIABLE}")
    alert = test_alert(options.level, home.url("dagster"))
    body = alert.body(datetime.now(UTC).isoformat(), None)
    failed = 0
    for channel in known:
        if not at_least(alert.level, channel.least):
            print(f"channel {channel.name}: takes {channel.least} and above, so nothing was sent")
            continue
        why = channel.send(alert.title, body, alert.level, over=False)
        failed += bool(why)
        print(f"channel {channel.name}: {why or 'sent'}", flush=True)
    return int(failed > 0 or bool(wrong))
