"""The command that tells where an answer, or a version, comes from."""

import argparse
import json

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.storage.root import Storage


def add(commands: Commands) -> None:
    """Declare the command."""
    lineage = commands.add_parser(
        "lineage", help="from an answer to the files that its model has learned from"
    )
    lineage.add_argument("use_case")
    what = lineage.add_mutually_exclusive_group(required=True)
    what.add_argument("prediction", nargs="?", help="the prediction_id of an answer")
    what.add_argument("--version", help="a version's number, or the start of its bundle's digest")
    lineage.add_argument("--json", action="store_true", help="for programs")
    lineage.set_defaults(run=_lineage)


def _lineage(options: argparse.Namespace) -> int:
    from mlops_assets.operations.lineage import as_text, of_prediction, of_version

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    if options.prediction is None:
        found = of_version(store, spec.name, options.version)
    else:
        found = of_prediction(store, spec.name, options.prediction)
    print(json.dumps(found, indent=2) if options.json else as_text(found))
    return 0
