"""``dg scaffold defs mlops_assets.TabularClassifier NAME``: a filled template that loads."""

import contextlib
import re
from pathlib import Path

import click
from dagster.components import Scaffolder, ScaffoldRequest
from pydantic import BaseModel

from mlops_assets.authoring.draft import Draft
from mlops_assets.authoring.files import texts, write
from mlops_assets.authoring.sorting import Drafted
from mlops_assets.lib.contract.column import Column
from mlops_assets.lib.contract.target import Target
from mlops_assets.lib.features.dbt_project import FeatureModelError
from mlops_assets.lib.spec.specs import DEFS


class TabularClassifierScaffolder(Scaffolder[BaseModel]):
    """Writes the spec, the feature SQL and its docs of a made-up problem, to be edited."""

    def scaffold(self, request: ScaffoldRequest[BaseModel]) -> None:
        """Write the files.

        Raises:
            click.ClickException: If the name cannot be one of a use case, another form is asked
                for, the use case is there already, or the project does not load with it: ``dg``
                shows the message alone.
        """
        name, folder = request.target_path.name, request.target_path
        try:
            if request.scaffold_format != "yaml" or request.append:
                raise ValueError("a use case is one defs.yaml of its own: use --format yaml")
            if folder.resolve().parent != DEFS.resolve():
                raise ValueError(f"a use case is a folder in {DEFS}: give its name alone")
            if not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
                raise ValueError(f"{name!r} is no name: small letters, digits and _, 40 at most")
            write(name, texts(example(name)), replace=False)
        except (FeatureModelError, OSError, ValueError) as error:
            _remove_empty(folder)
            raise click.ClickException(str(error)) from None
        print(NEXT.format(name=name))


def _remove_empty(folder: Path) -> None:
    """Remove the folder that Dagster has made already, and those above that it made for it."""
    with contextlib.suppress(OSError):
        while folder.resolve() != DEFS.resolve():
            folder.rmdir()
            folder = folder.parent


NEXT = """Written, and the project loads with it:
  mlops_assets/defs/{name}/defs.yaml
  dbt_features/models/{name}/{name}_features.sql and .yml
Put your own columns in place of the made-up ones, then run `mlops check {name}`.
Or let a sample of your data fill them:
  mlops new {name} --from sample.csv --target COLUMN --force"""


def example(name: str) -> Draft:
    """A made-up problem with a column of each usual kind."""
    columns = [
        Drafted(
            Column(name="customer_id", type="text", description="Who it is about."),
            "",
            ["names a row; no input of the model"],
        ),
        Drafted(
            Column(
                name="amount",
                header="Amount (EUR)",
                type="number",
                unit="EUR",
                minimum=0,
                maximum=10_000,
                example=120.5,
                description="A number with its range.",
            ),
            "",
            ["header: as in the landed file, where that is no name for SQL"],
        ),
        Drafted(
            Column(
                name="visits",
                type="integer",
                minimum=0,
                maximum=500,
                nullable=True,
                missing_values=[-1],
                example=3,
                description="A whole number that may be missing.",
            ),
            "",
            ["missing_values: what stands for missing, beside an empty cell, NA and the like"],
        ),
        Drafted(
            Column(
                name="segment",
                type="category",
                allowed=["business", "private", "public"],
                example="private",
                description="A category with every value it may have.",
            ),
            "",
        ),
    ]
    return Draft(
        name=name,
        source="",
        rows=1_000,
        target=Target(column="outcome", description="What is predicted."),
        positives=250,
        columns=columns,
        left_out=[],
        entity=None,
        key=["customer_id"],
        event_time=None,
        missing={},
        duplicates=0.0,
        candidates=["logistic_regression", "xgboost"],
        trials=15,
        remarks=[],
    )
