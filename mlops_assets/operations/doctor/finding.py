"""What an examination finds."""

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True)
class Finding:
    """What one examination found.

    Attributes:
        about: What was looked at.
        level: ``warn`` is worth knowing; ``fail`` stands in the way.
        said: What was found.
        do: What to do about it; empty where nothing is to be done.
    """

    about: str
    level: Level
    said: str
    do: str = ""
