"""The command that makes data."""

import argparse
import sys
from pathlib import Path

from pydantic import ValidationError

from mlops_assets import home
from mlops_assets.cli.commands import Commands
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.synthetic import GENERATORS, Generator
from mlops_assets.lib.synthetic.origin import remember


def add(commands: Commands) -> None:
    """Declare the command, with a flag for every option of each generator."""
    generate = commands.add_parser("generate", help="draw data whose best reachable score is known")
    kinds = generate.add_subparsers(required=True, metavar="KIND")
    for name, generator in GENERATORS.items():
        kind = kinds.add_parser(name, help=generator.help)
        for option, field in generator.options.model_fields.items():
            usual = "" if field.default is None else f"; default: {field.default}"
            flag = f"--{option.replace('_', '-')}"
            kind.add_argument(flag, help=f"{field.description}{usual}".replace("%", "%%"))
        kind.add_argument("--out", type=Path, required=True, help="the file to write")
        kind.set_defaults(run=_generate, use_case=name, generator=generator)


def _generate(options: argparse.Namespace) -> int:
    generator: Generator = options.generator
    given = {name: getattr(options, name) for name in generator.options.model_fields}
    try:
        asked = generator.options.model_validate({n: v for n, v in given.items() if v is not None})
    except ValidationError as error:
        problems = [".".join(map(str, e["loc"])) + ": " + e["msg"] for e in error.errors()]
        raise ValueError("; ".join(p.removeprefix(": Value error, ") for p in problems)) from None
    found = generator.write(asked, options.out)
    print(f"{options.out}: {found.rows} rows, of which {found.bad_rows} break the contract")
    if found.waiting:
        print(f"{found.waiting} more wait for their outcome: ask again with a later --as-of")
    print(f"positive: {found.base_rate:.1%}")
    print(f"best reachable ROC AUC: {found.best_auc:.4f}")
    try:
        store = Storage(home.storage_root())
        remember(store, options.use_case, file_digest(options.out), asked, found)
    except (OSError, ValueError) as error:
        why = "it is not shown beside a model's here"
        print(f"mlops: the storage took no record of it, so that {why}: {error}", file=sys.stderr)
    print(f"next: mlops land {options.use_case} {options.out}")
    return 0
