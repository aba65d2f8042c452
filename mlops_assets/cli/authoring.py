"""Commands about use cases themselves: drafting one from a sample, and checking what is written."""

import argparse
import re
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.cli.commands import Commands
from mlops_assets.home import PROJECT

if TYPE_CHECKING:
    from mlops_assets.authoring.draft import Draft


def add(commands: Commands) -> None:
    """Declare the commands."""
    new = commands.add_parser("new", help="draft a use case from a sample of its data")
    new.add_argument("use_case", help="its name: small letters, digits and _")
    new.add_argument("--from", dest="sample", type=Path, required=True, metavar="FILE")
    new.add_argument("--target", required=True, metavar="COLUMN", help="what is to be predicted")
    new.add_argument("--positive", metavar="VALUE", help="of the target; default: the rarer one")
    new.add_argument("--entity", metavar="COLUMN", help="whom or what a row is about")
    new.add_argument("--event-time", metavar="COLUMN", help="when the row was known")
    new.add_argument(
        "--candidates", type=_algorithms, default=(), metavar="A,B", help="who takes part"
    )
    new.add_argument("--force", action="store_true", help="write over files that are there")
    new.set_defaults(run=_new)

    check = commands.add_parser("check", help="name every mistake of the specs and their SQL")
    check.add_argument("use_case", nargs="?")
    check.set_defaults(run=_check)


def _algorithms(text: str) -> list[str]:
    from mlops_assets.lib.spec.training_plan import SEARCH

    names = [name.strip() for name in text.split(",")]
    unknown = [name for name in names if name not in SEARCH]
    if unknown:
        raise argparse.ArgumentTypeError(
            f"no algorithm {', '.join(unknown)}; there are: {', '.join(SEARCH)}"
        )
    return names


def _new(options: argparse.Namespace) -> int:
    from mlops_assets.authoring.draft import draft
    from mlops_assets.authoring.files import texts, write

    name, sample = options.use_case, options.sample
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ValueError(f"{name!r} is no name of a use case: small letters, digits and _")
    if not sample.is_file():
        raise FileNotFoundError(f"there is no file {sample}")
    drafted = draft(
        name,
        sample,
        options.target,
        positive=options.positive,
        entity=options.entity,
        event_time=options.event_time,
        candidates=options.candidates,
    )
    files = texts(drafted)
    write(name, files, replace=options.force)
    print("\n".join(_told(drafted)))
    print(_judged(drafted, sample))
    print("\nWritten, and the project loads with it:")
    for path in files:
        print(f"  {path.relative_to(PROJECT)}")
    print(
        f"""
Next
  1. Read these files: every line is a proposal. `mlops check {name}` names mistakes.
  2. mlops dev                       Dagster; it takes up the use case when it starts
  3. mlops serve {name}
  4. mlops land {name} {sample}
  5. mlops status {name}"""
    )
    return 0


def _told(drafted: "Draft") -> list[str]:
    """The draft for a person who has not opened the files yet."""
    target = drafted.target
    lines = [
        f"{drafted.source}: {drafted.rows:,} rows",
        *(f"  note: {remark}" for remark in drafted.remarks),
        f"target {target.header or target.column}: {target.positive!r} is positive, "
        f"{drafted.positives:,} rows ({drafted.positive_rate:.1%})",
        "",
    ]
    width = max(len(one.column.name) for one in drafted.columns)
    inputs = {column.name for column in drafted.contract.inputs}
    for one in sorted(drafted.columns, key=lambda one: one.column.name not in inputs):
        column = one.column
        kind = column.type if column.name in inputs else "no input"
        lines.append(f"  {column.name:<{width}}  {kind:<9}  {one.facts}".rstrip())
        lines += [f"  {'':<{width}}  ^ {note}" for note in one.notes]
    if drafted.left_out:
        lines += ["", "Left out:"]
        lines += [f"  {header}: {reason}" for header, reason in drafted.left_out]
    return lines


def _judged(drafted: "Draft", sample: Path) -> str:
    """Whether the sample keeps the contract that was drafted from it."""
    from mlops_assets.lib.reading.table import read_table
    from mlops_assets.lib.validation.validate import validate

    with tempfile.TemporaryDirectory() as folder:
        raw, valid, bad = (Path(folder) / f"{n}.parquet" for n in ("raw", "valid", "quarantine"))
        table = read_table(sample, raw)
        found = validate(
            drafted.contract, raw, valid, bad, batch="sample", delimiter=table.delimiter
        )
    examples = "".join(f"\n  {example}" for example in found.examples.values())
    return (
        f"\nOf the sample, {found.valid:,} rows keep this contract and {found.quarantined:,} do "
        f"not (quality {found.quality:g} of 100).{examples}"
    )


def _check(options: argparse.Namespace) -> int:
    from mlops_assets.lib.features.dbt_project import feature_model, prepare
    from mlops_assets.lib.features.feature_check import check_features
    from mlops_assets.lib.features.value_check import check_values
    from mlops_assets.lib.spec.rollout_policy import rollout_policy
    from mlops_assets.lib.spec.specs import load_documents, load_spec
    from mlops_assets.lib.training.parameter_check import check_parameters

    if options.use_case:
        load_spec(options.use_case)  # says which there are
    for name, (document, spec) in load_documents().items():
        if options.use_case in (None, name):
            check_features(document, spec)
            check_parameters(document, spec)
            model = feature_model(prepare(name, spec.contract), name)
            check_values(document, spec, model)
            count = f"{len(spec.contract.inputs)} inputs, {len(model.columns) - 1} features"
            print(f"{name}: {count}, {len(model.tests)} data tests; no mistake found")
    if (policy := rollout_policy()) is not None:
        named = ", ".join(policy.by_use_case) or "no use case"
        print(f"{policy.file}: rollouts of {named}; no mistake found")
    return 0
