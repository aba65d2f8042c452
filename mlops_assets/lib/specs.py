"""Reading the specs of every use case without loading Dagster."""

from pathlib import Path

import yaml

from mlops_assets.lib.spec import UseCase

DEFS = Path(__file__).parents[1] / "defs"


class UnknownUseCaseError(Exception):
    """No use case has this name; the message lists those there are."""


def load_specs() -> dict[str, UseCase]:
    """The spec of each use case under ``mlops_assets/defs``, by name.

    Raises:
        pydantic.ValidationError: If a spec breaks the schema.
    """
    specs = {}
    for path in sorted(DEFS.glob("*/defs.yaml")):
        for document in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            if document and document.get("type") == "mlops_assets.TabularClassifier":
                spec = UseCase.model_validate(document["attributes"])
                specs[spec.name] = spec
    return specs


def load_spec(name: str) -> UseCase:
    """The spec of one use case.

    Raises:
        UnknownUseCaseError: If there is none of this name.
    """
    specs = load_specs()
    if name not in specs:
        raise UnknownUseCaseError(f"no use case {name!r}; there are: {', '.join(specs)}")
    return specs[name]
