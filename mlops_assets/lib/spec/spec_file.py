"""Reading a spec file so that every mistake in it is named with its file, line and field.

A validator that looks at several fields has no line of its own. Its message therefore begins with
the field that is wrong (``gate.slices: no such column``), or names it; the line is looked up there.
One that found several says each on a line of its own.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from mlops_assets.lib.spec.use_case import UseCase

COMPONENT = "mlops_assets.TabularClassifier"
PathInFile = Sequence[str | int]
# A name or a dotted path in a message.
FIELD = re.compile(r"[A-Za-z_]\w*(?:\.\w+)*")
QUOTED = re.compile(r"'[^']*'")
# Said shorter than pydantic does.
REASONS = {"missing": "is required", "extra_forbidden": "is not a field of the spec"}


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a file of a use case.

    Attributes:
        line: From 1.
        field: Dotted path in the file; empty for the file as a whole.
    """

    file: Path
    line: int
    field: str
    reason: str

    def __str__(self) -> str:
        return ": ".join(filter(None, (f"{self.file}:{self.line}", self.field, self.reason)))


class SpecError(ValueError):
    """A spec, or the feature SQL that belongs to it, has mistakes; the message has one a line."""

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        self.mistakes = list(mistakes)
        super().__init__("\n".join(map(str, self.mistakes)))


# As Dagster reads YAML: an unquoted date stays the text that it is.
RESOLVERS = {
    first: [(tag, text) for tag, text in resolvers if not tag.endswith(":timestamp")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Loader(yaml.CSafeLoader):
    """libyaml's parser: every process that loads the definitions reads every spec."""

    yaml_implicit_resolvers = RESOLVERS


class _SlowLoader(yaml.SafeLoader):
    """Ten times slower, and surer of the line on which a mistake is."""

    yaml_implicit_resolvers = RESOLVERS


@dataclass(frozen=True)
class Document:
    """One use case in a file."""

    file: Path
    attributes: yaml.Node
    value: Any

    def spec(self) -> UseCase:
        """The spec.

        Raises:
            SpecError: With every mistake in it.
        """
        try:
            return UseCase.model_validate(self.value)
        except ValidationError as error:
            raise self.refused(error) from None

    def refused(self, error: ValidationError, *within: str | int) -> SpecError:
        """What a model refuses of it, each mistake with its line.

        Args:
            error: Of the model.
            within: The path of the part that the model was given, below ``attributes``.
        """
        found: dict[tuple[int, str], list[str]] = {}
        for problem in error.errors():
            said = REASONS.get(problem["type"], problem["msg"].removeprefix("Value error, "))
            absent = problem["type"] == "missing"
            for line in said.splitlines():  # a validator may have found several
                mistake = self.mistake((*within, *problem["loc"]), line, absent=absent)
                found.setdefault((mistake.line, mistake.field), []).append(mistake.reason)
        return SpecError(
            Mistake(self.file, line, field, "; or: ".join(dict.fromkeys(reasons)))
            for (line, field), reasons in found.items()
        )

    def mistake(self, path: PathInFile, reason: str, *, absent: bool = False) -> Mistake:
        """A mistake at a field.

        Args:
            path: Of the field, below ``attributes``; parts that are not in the file are skipped.
            reason: What is wrong; it may begin with a field below the path, or name one.
            absent: The last part of the path is what is not there.
        """
        steps, line = _follow(self.attributes, path)
        node, field = _end(self.attributes, steps), list(steps)
        for said in FIELD.findall(QUOTED.sub("", reason)):
            named = [int(part) if part.isdigit() else part for part in said.split(".")]
            below, at = _follow(node, named)
            if len(below) == len(named):
                line, field = at, [*steps, *below]
                reason = reason.removeprefix(f"{said}: ")
                break
        if absent:
            field.append(path[-1])
        return Mistake(self.file, line, _shown(self.attributes, field), reason)


def documents(path: Path) -> list[Document]:
    """The use cases of a file.

    Raises:
        SpecError: If it is no YAML, names a key twice, or a use case has no attributes.
    """
    nodes = read_nodes(path)
    found = []
    for node in nodes:
        value = value_of(node)
        if not isinstance(value, dict) or value.get("type") != COMPONENT:
            continue  # of another component, or nothing
        attributes = next((v for k, v in node.value if k.value == "attributes"), None)
        if not isinstance(attributes, yaml.MappingNode):
            raise SpecError([Mistake(path, _line(node), "attributes", "are required")])
        found.append(Document(path, attributes, value["attributes"]))
    return found


def read_nodes(path: Path) -> list[yaml.Node]:
    """The YAML documents of a file, as nodes that know their lines.

    Raises:
        SpecError: If it is no YAML, or names a key twice.
    """
    try:
        text = path.read_text(encoding="utf-8")
        nodes = _composed(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        said = ", ".join(filter(None, (error.context, error.problem)))
        line = mark.line + 1 if mark else 1
        raise SpecError([Mistake(path, line, "", f"no YAML: {said}")]) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SpecError([Mistake(path, 1, "", f"no YAML: {error}")]) from None
    twice = [mistake for node in nodes for mistake in _repeated_keys(path, node, "")]
    if twice:
        raise SpecError(twice)
    return nodes


def _composed(text: str) -> list[yaml.Node]:
    try:
        return list(yaml.compose_all(text, Loader=_Loader))
    except yaml.MarkedYAMLError:
        return list(yaml.compose_all(text, Loader=_SlowLoader))


def value_of(node: yaml.Node) -> Any:
    """What a node says, as plain values."""
    loader = _Loader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _line(node: yaml.Node) -> int:
    return int(node.start_mark.line) + 1


def _repeated_keys(path: Path, node: yaml.Node, field: str) -> Iterator[Mistake]:
    """YAML takes the last of two equal keys without a word."""
    if isinstance(node, yaml.MappingNode):
        first: dict[str, int] = {}
        for key, value in node.value:
            below = f"{field}.{key.value}".removeprefix(".attributes").lstrip(".")
            if key.value in first:
                said = f"the key is there twice, first on line {first[key.value]}"
                yield Mistake(path, _line(key), below, said)
            first.setdefault(key.value, _line(key))
            yield from _repeated_keys(path, value, below)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield from _repeated_keys(path, item, f"{field}[{_item(item, index)}]")


def _child(node: yaml.Node, step: str | int) -> tuple[yaml.Node, int] | None:
    """What is below a step, and the line at which it begins."""
    if isinstance(node, yaml.MappingNode):
        return next(((v, _line(k)) for k, v in node.value if k.value == str(step)), None)
    if isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
        return node.value[step], _line(node.value[step])
    return None


def _follow(node: yaml.Node, path: PathInFile) -> tuple[list[str | int], int]:
    """The steps of a path that are in the file, and the line of the last."""
    steps, line = [], _line(node)
    for step in path:
        below = _child(node, step)
        if below is not None:
            node, line = below
            steps.append(step)
    return steps, line


def _end(node: yaml.Node, steps: PathInFile) -> yaml.Node:
    for step in steps:
        below = _child(node, step)
        assert below is not None
        node = below[0]
    return node


def _shown(node: yaml.Node, steps: PathInFile) -> str:
    """A path for people: an item of a list by its name where it has one."""
    text = ""
    for number, step in enumerate(steps):
        if isinstance(step, int):
            text += f"[{_item(_end(node, steps[: number + 1]), step)}]"
        else:
            text += f".{step}"
    return text.lstrip(".")


def _item(node: yaml.Node, index: int) -> str:
    named = _child(node, "name")
    return str(named[0].value) if named and isinstance(named[0], yaml.ScalarNode) else str(index)
