"""Commands about data: what lands, and what is taken out again."""

import argparse
import getpass
import json
import os
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.instance import has_instance, open_instance
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.records.batches import Batches, batch_key
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.storage.root import Storage

if TYPE_CHECKING:
    from mlops_assets.lib.sources.inbox import Fetched, SourceError
    from mlops_assets.lib.sources.spec import Source
    from mlops_assets.lib.spec.use_case import UseCase


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

    erase = commands.add_parser("erase", help="remove whom rows are about, wherever they are")
    erase.add_argument("use_case")
    erase.add_argument("--entity", required=True, help="the id, as the entity's column has it")
    erase.add_argument("--reason", required=True, help="a line for the ledger, without the id")
    erase.add_argument("--by", default=None, help="who decides; default: the user")
    erase.add_argument(
        "--in-advance", action="store_true", help="also if nothing has a row of it yet"
    )
    erase.set_defaults(run=_erase)

    data = commands.add_parser("data", help="every version of the data, by digest")
    actions = data.add_subparsers(required=True, metavar="ACTION")
    listing = actions.add_parser("list", help="batches, training sets and bundles")
    listing.set_defaults(run=_list)
    show = actions.add_parser("show", help="what it is made of, and what was made of it")
    show.set_defaults(run=_show)
    export = actions.add_parser("export", help="the rows of a batch or of a training set")
    export.set_defaults(run=_export)
    for action in (listing, show, export):
        action.add_argument("use_case")
    for action in (show, export):
        action.add_argument("digest", help="a digest, the key of a batch, or the start of one")
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="for programs")
    export.add_argument("--to", type=Path, required=True, help="a .parquet or .csv file")
    export.add_argument(
        "--stage",
        choices=("raw", "validated", "features"),
        help="of a batch; default: the one whose digest is given, or its valid rows",
    )


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
    from mlops_assets.lib.labels.place import LabelPlace
    from mlops_assets.lib.sources.fetch import fetch
    from mlops_assets.lib.sources.inbox import SourceError

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    labels = {each.name: LabelPlace(store, spec, each) for each in spec.labels}
    sources = [*spec.sources, *(each.source for each in spec.labels)]
    names = [source.name for source in sources]
    if options.source not in (None, *names):
        there = ", ".join(names) or "none"
        raise ValueError(f"{spec.name} has no source {options.source!r}; there are: {there}")
    if not names:
        print(f"{spec.name} has no sources; `mlops land` hands a file over")
    complete = True
    told: list[tuple[Source, Fetched | SourceError]] = []
    for source in sources:
        if options.source not in (None, source.name):
            continue
        place = labels.get(source.name)
        try:
            found = fetch(source, place or Batches(store, spec.name), os.environ)
        except SourceError as error:  # the others are fetched all the same
            print(f"mlops: {error}", file=sys.stderr)
            complete = False
            told.append((source, error))
            continue
        if place is not None:
            place.say(found)
        told.append((source, found))
        print(f"{source.name}: {found}")
        for landed in found.new if place is None else []:
            print(f"{landed.name} landed as batch {landed.key}")
        complete = complete and not found.problems
    _tell_dagster(spec, told)
    return int(not complete)


def _tell_dagster(spec: "UseCase", told: "list[tuple[Source, Fetched | SourceError]]") -> None:
    """Show fetches in the UI, where there is a Dagster; the files have landed in any case."""
    if not told or not has_instance():
        return
    from mlops_assets.stages.sources import report

    try:
        with open_instance() as instance:
            for source, found in told:
                report(instance, spec, source, found)
    except Exception as error:  # whatever is wrong with its storage
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        print(f"mlops: Dagster could not be told, its UI does not show it: {said}", file=sys.stderr)


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


def _erase(options: argparse.Namespace) -> int:
    from mlops_assets.operations.erase.command import erase

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    with ExitStack() as stack:
        instance = None
        if has_instance():
            dagster = open_instance()
            instance = stack.enter_context(dagster)
        for line in erase(
            store,
            spec,
            instance,
            options.entity,
            actor=options.by or getpass.getuser(),
            reason=options.reason,
            in_advance=options.in_advance,
        ):
            print(line, flush=True)
    return 0


def _list(options: argparse.Namespace) -> int:
    from mlops_assets.operations.catalogue import Catalogue, as_text, states

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    everything = Catalogue(store, spec, states(store, spec)).everything()
    print(json.dumps(everything, indent=2) if options.json else as_text(everything))
    return 0


def _show(options: argparse.Namespace) -> int:
    from mlops_assets.operations.catalogue import Catalogue, states

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    found = Catalogue(store, spec, states(store, spec)).show(options.digest)
    if options.json:
        print(json.dumps(found, indent=2))
        return 0
    for name, value in found.items():
        lines = value if isinstance(value, list) else [value]
        lines = [f"{k} {v}" for k, v in value.items()] if isinstance(value, dict) else lines
        print(f"{name.replace('_', ' '):<17}", f"\n{'':<18}".join(map(str, lines or ["nothing"])))
    return 0


def _export(options: argparse.Namespace) -> int:
    from mlops_assets.operations.catalogue import Catalogue

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    rows = Catalogue(store, spec, {}).export(options.digest, options.to, options.stage)
    print(f"{rows} rows in {options.to}")
    return 0
