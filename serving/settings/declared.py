"""How a setting is declared: once, as a field, which the command line and the docs read.

A field's description says what the setting is for, its default what holds without it. It is given
as `--its-name` or in SERVING_ITS_NAME, unless a `Given` among its annotations says otherwise.
"""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict
from pydantic.fields import FieldInfo


class Concern(BaseModel):
    """Settings about one thing. A field without a description is none: the server sets it."""

    model_config = ConfigDict(frozen=True, extra="forbid")


@dataclass(frozen=True)
class Given:
    """How a setting is given, where its name does not say it.

    Attributes:
        option: Of the command line.
        variables: Of the environment; the first that is set wins.
        home: The part of MLOPS_HOME that it is by default.
        default: What holds without it, in words, where the field's default is only a sign of it.
        secret: Whether it has no option, which would be seen in the list of processes, and is never
            repeated in a message: somebody may have put the wrong half of a key there.
    """

    option: str = ""
    variables: tuple[str, ...] = ()
    home: str = ""
    default: str = ""
    secret: bool = False


@dataclass(frozen=True)
class Setting:
    """A setting, as people give it.

    Attributes:
        name: Of the field.
        option: Of the command line, or None for a secret.
        variables: Of the environment; the first that is set wins.
        purpose: What it is for.
        default: What holds without it, for people; empty where nothing does.
        home: The part of MLOPS_HOME that it is by default, if it is one.
        switch: Whether the option may stand alone, for true.
    """

    name: str
    option: str | None
    variables: tuple[str, ...]
    purpose: str
    default: str
    home: str
    switch: bool


def settings_of(concern: type[Concern]) -> list[Setting]:
    """Read the settings that a concern declares, in their order."""
    return [
        _setting(name, field, field.description)
        for name, field in concern.model_fields.items()
        if field.description
    ]


def _setting(name: str, field: FieldInfo, purpose: str) -> Setting:
    given = next((each for each in field.metadata if isinstance(each, Given)), Given())
    option = given.option or "--" + name.replace("_", "-")
    return Setting(
        name=name,
        option=None if given.secret else option,
        variables=given.variables or (f"SERVING_{name.upper()}",),
        purpose=purpose,
        default=given.default or _shown(field, given.home),
        home=given.home,
        switch=field.default is False,
    )


def _shown(field: FieldInfo, home: str) -> str:
    if home:
        return f"$MLOPS_HOME/{home} or .mlops/{home}"
    if field.is_required():
        return ""
    value: Any = field.default
    if isinstance(value, bool):
        return str(value).lower()
    # The empty ones say that there is nothing.
    return f"{value:g}" if isinstance(value, float) else str(value or "")
