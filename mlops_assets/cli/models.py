"""Commands about models: what answers, and whether it can be made again."""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.spec.specs import load_spec, load_specs
from mlops_assets.lib.storage.root import Storage


def add(commands: Commands) -> None:
    """Declare the commands."""
    serve = commands.add_parser("serve", help="start the serving app of some use cases")
    serve.add_argument("use_cases", nargs="*", metavar="use_case", help="default: all of them")
    serve.add_argument("--port", type=int, help="default: MLOPS_SERVING_PORT or 8000")
    serve.set_defaults(run=_serve)

    rebuild = commands.add_parser("rebuild", help="make a version again, and compare the two")
    rebuild.add_argument("use_case")
    rebuild.add_argument("version", help="its number, or the start of its bundle's digest")
    rebuild.add_argument("--keep", type=Path, help="a new folder that keeps what is made")
    rebuild.set_defaults(run=_rebuild)


def _serve(options: argparse.Namespace) -> int:
    names = ",".join([load_spec(name).name for name in options.use_cases] or list(load_specs()))
    port = options.port if options.port is not None else home.port("serving")
    command = [sys.executable, "-m", "serving", "--use-case", names, "--port", str(port)]
    command += ["--storage-root", home.storage_root(), "--environment", home.environment()]
    command += ["--log-spool", str(home.spool_folder())]
    os.execv(sys.executable, command)


def _rebuild(options: argparse.Namespace) -> int:
    from mlops_assets.operations.rebuild import rebuild
    from mlops_assets.operations.versions import bundle_of, numbers

    spec, store = load_spec(options.use_case), Storage(home.storage_root())
    digest = bundle_of(store, spec.name, options.version)
    number = numbers(store, spec.name).get(digest, "without a number")
    print(f"version {number} of {spec.name}, bundle {digest[:12]}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = options.keep or Path(scratch) / "rebuilt"
        if folder.exists():
            raise FileExistsError(f"{folder} is there already; name a new folder")
        made = rebuild(store, spec.name, digest, folder, lambda line: print(line, flush=True))
    if made.equal:
        print(f"the same bundle, bit by bit; no prediction of {made.rows} rows differs")
        return 0
    for reason in made.reasons:
        print(reason)
    print(
        f"bundle {made.digest[:12]}: the largest difference of a probability over {made.rows} rows "
        f"is {made.difference:.1e}"
    )
    return int(made.difference > 0)
