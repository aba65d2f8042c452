"""One alert: what is wrong, or has happened, and what a person can do about it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Level = Literal["info", "warning", "critical"]
LEVELS: tuple[Level, ...] = get_args(Level)
PAGE = "docs/alerts.md"


@dataclass(frozen=True)
class Alert:
    """What somebody is to be told.

    Attributes:
        use_case: Whose.
        key: Its subject. What has the same key is the same alert, however its words change.
        level: ``critical`` wakes somebody up, ``warning`` is for the working day.
        title: What it is about, in a line that stays the same until it is over: some channels
            tell by it what belongs together.
        what: What was found, with numbers and limits.
        do: What to do, in a sentence.
        link: To the run or the asset in Dagster's UI.
        once: Something that has happened, and is never over.
    """

    use_case: str
    key: str
    level: Level
    title: str
    what: str
    do: str
    link: str = ""
    once: bool = False

    def body(self, since: str, over: str | None) -> str:
        """The text under the title.

        Args:
            since: When it was first seen, ISO 8601.
            over: When it was over, or None while it is not.
        """
        state = f"RESOLVED at {over[:19]}Z" if over else self.level.upper()
        lines = [f"{state}, since {since[:19]}Z", self.what]
        if not over:
            lines.append(f"What to do: {self.do} See {PAGE}.")
        return "\n".join([*lines, self.link]).strip()


@dataclass(frozen=True)
class Seen:
    """What one look at the platform found.

    Attributes:
        alerts: What is wrong.
        looked: The keys that were looked at; one that ends in a slash stands for all under it.
            An open alert with such a key that is not among the alerts is over.
    """

    alerts: Sequence[Alert] = field(default_factory=list)
    looked: frozenset[str] = frozenset()

    def __add__(self, other: "Seen") -> "Seen":
        return Seen([*self.alerts, *other.alerts], self.looked | other.looked)

    def covers(self, key: str) -> bool:
        """Whether a key was looked at."""
        return any(
            key == each or (each[-1] == "/" and key.startswith(each)) for each in self.looked
        )


def at_least(level: Level, least: Level) -> bool:
    """Whether a level is as grave as another one, or graver."""
    return LEVELS.index(level) >= LEVELS.index(least)


def test_alert(level: Level, link: str) -> Alert:
    """An alert about nothing, for ``mlops alerts test``."""
    about: dict[str, Any] = {"use_case": "mlops", "key": "test", "level": level, "link": link}
    what = "This is a test: nothing is wrong."
    return Alert(**about, title="mlops: test alert", what=what, do="Nothing.", once=True)
