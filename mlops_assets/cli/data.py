"""Commands about data: what lands, and what is taken out again."""

import argparse
import getpass
import os
import sys
from pathlib import Path

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.batches import Batches, batch_key
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.ledger import Ledger
from mlops_assets.lib.specs import load_spec
from mlops_assets.lib.storage import Storage


def add(commands: Commands) -> None:
    """Declare the commands."""
    land = commands.add_parser("land", help="hand a file over to the landing place")
    land.add_argument("use_case")
    land.add_argument("file", type=Path)
    land.set_defaults(run=_land)

    fetch = commands.add_parser("fetch", help="land what is new in the sources of a use case")
    fetch.add_argument("use_case")
    fetch.add_argument("source", nargs="?", help="its name in the spec; default: all of them")
    fetch.set_defaults(run=_fetch)

    withdraw = commands.add_parser("withdraw", help="take a bad batch out of all later training")
    withdraw.add_argument("use_case")
    withdraw.add_argument("batch", help="its key, as `mlops status` shows it")
    withdraw.add_argument("--reason", default="no reason given", help="a line for the ledger")
    withdraw.add_argument("--by", default=None, help="who decides; default: the user")
    withdraw.add_argument("--undo", action="store_true", help="put it back")
    withdraw.set_defaults(run=_withdraw)


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


def _fetch(options: argparse.Namespace) -> int:
    from mlops_assets.lib.sources.fetch import fetch
    from mlops_assets.lib.sources.inbox import SourceError

    spec = load_spec(options.use_case)
    names = [source.name for source in spec.sources]
    if options.source not in (None, *names):
        there = ", ".join(names) or "none"
        raise ValueError(f"{spec.name} has no source {options.source!r}; there are: {there}")
    if not names:
        print(f"{spec.name} has no sources; `mlops land` hands a file over")
    complete = True
    for source in spec.sources:
        if options.source not in (None, source.name):
            continue
        try:
            found = fetch(source, Batches(Storage(home.storage_root()), spec.name), os.environ)
        except SourceError as error:  # the others are fetched all the same
            print(f"mlops: {error}", file=sys.stderr)
            complete = False
            continue
        print(f"{source.name}: {found}")
        for landed in found.new:
            print(f"{landed.name} landed as batch {landed.key}")
        complete = complete and not found.problems
    return int(not complete)


def _withdraw(options: argparse.Namespace) -> int:
    from mlops_assets.operations.withdraw import serves_withdrawn, withdraw

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    actor = options.by or getpass.getuser()
    entry = withdraw(
        store, spec, options.batch, actor=actor, reason=options.reason, undo=options.undo
    )
    done = "restored" if options.undo else "withdrawn"
    if entry is None:
        already = "not withdrawn" if options.undo else "withdrawn already"
        print(f"batch {options.batch} is {already}; nothing is changed")
        return 0
    print(f"batch {options.batch} is {done} (entry {entry['sequence']} of the ledger)")
    print("the retrain sensor makes the next training set accordingly")
    if serves_withdrawn(store, Ledger(store, spec.name).entries()):
        print("the champion was trained on it and serves until the next version is promoted")
    return 0
