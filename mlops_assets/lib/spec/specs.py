"""Reading the specs of every use case without loading Dagster."""

from pathlib import Path

from mlops_assets.lib.spec.spec_file import Document, SpecError, documents
from mlops_assets.lib.spec.use_case import UseCase

DEFS = Path(__file__).parents[2] / "defs"


class UnknownUseCaseError(Exception):
    """No use case has this name; the message lists those there are."""


def load_documents() -> dict[str, tuple[Document, UseCase]]:
    """Each use case under ``mlops_assets/defs`` with where it is written, by name.

    Raises:
        SpecError: With every mistake of every file.
    """
    found: dict[str, tuple[Document, UseCase]] = {}
    mistakes = []
    for path in sorted(DEFS.glob("*/defs.yaml")):
        try:
            for document in documents(path):
                spec = document.spec()
                if spec.name in found:
                    said = f"{spec.name} is the name of {found[spec.name][0].file}, too"
                    raise SpecError([document.mistake(["name"], said)])
                found[spec.name] = document, spec
        except SpecError as error:
            mistakes += error.mistakes
    if mistakes:
        raise SpecError(mistakes)
    return found


def load_specs() -> dict[str, UseCase]:
    """The spec of each use case under ``mlops_assets/defs``, by name.

    Raises:
        SpecError: With every mistake of every file.
    """
    return {name: spec for name, (_, spec) in load_documents().items()}


def load_spec(name: str) -> UseCase:
    """The spec of one use case.

    Raises:
        UnknownUseCaseError: If there is none of this name.
        SpecError: With every mistake of every file.
    """
    specs = load_specs()
    if name not in specs:
        raise UnknownUseCaseError(f"no use case {name!r}; there are: {', '.join(specs)}")
    return specs[name]
