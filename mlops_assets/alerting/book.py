"""The book of open alerts: what was told to whom, one small file a use case.

It is written before a message goes out and after it was taken. A kill between the two leaves a try
without an answer, so that the message goes out once more, and not for ever.
"""

from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from mlops_assets.alerting.alert import Alert, Level
from mlops_assets.lib.storage.root import Storage


@dataclass
class Told:
    """What one channel knows of an alert.

    Attributes:
        level: Of the last message that was taken; None before the first.
        at: When that was, ISO 8601.
        over: It was told that the alert is over.
        tries: Messages sent since then.
        last_try: When the last of them was, ISO 8601.
    """

    level: Level | None = None
    at: str = ""
    over: bool = False
    tries: int = 0
    last_try: str = ""


@dataclass
class Entry:
    """An open alert.

    Attributes:
        alert: As it was seen last.
        since: When it was seen first, ISO 8601.
        changed: When its words or its level were others for the last time.
        over: When it was no longer seen, or None.
        told: By channel.
    """

    alert: Alert
    since: str
    changed: str
    over: str | None = None
    told: dict[str, Told] = field(default_factory=dict)


@dataclass
class Resting:
    """A channel that did not take a message.

    Attributes:
        failures: In a row.
        until: It is left alone until then, ISO 8601.
        said: Why it did not.
    """

    failures: int
    until: str
    said: str


@dataclass
class Book:
    """The open alerts of one use case, and the channels that rest.

    Attributes:
        entries: By the key of the alert, oldest first.
        resting: By the name of the channel.
    """

    store: Storage
    use_case: str
    entries: dict[str, Entry] = field(default_factory=dict)
    resting: dict[str, Resting] = field(default_factory=dict)

    def write(self) -> None:
        """Keep the book as it is now."""
        entries = sorted(self.entries.values(), key=lambda entry: (entry.since, entry.alert.key))
        record = {
            "open": [asdict(entry) for entry in entries],
            "resting": {name: asdict(each) for name, each in self.resting.items()},
        }
        self.store.write_json(_key(self.use_case), record)


def read(store: Storage, use_case: str) -> Book:
    """The book of a use case; an empty one where there is none.

    Raises:
        ValueError: If the file is none of ours: what was told is not known then.
    """
    key = _key(use_case)
    try:
        record = store.read_json(key)
        if record is None:
            return Book(store, use_case)
        entries = [_entry(each) for each in record["open"]]
        resting = {name: Resting(**each) for name, each in record["resting"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"{store.uri(key)} is no book of alerts ({type(error).__name__}): remove it, and what "
            "is wrong by then is told anew"
        ) from error
    return Book(store, use_case, {entry.alert.key: entry for entry in entries}, resting)


def seconds_since(then: str, now: datetime) -> float:
    """The seconds from a time of the book."""
    return (now - datetime.fromisoformat(then)).total_seconds()


def _key(use_case: str) -> str:
    return f"{use_case}/alerts/open.json"


def _entry(record: dict[str, Any]) -> Entry:
    told = {name: Told(**each) for name, each in record["told"].items()}
    return Entry(Alert(**record["alert"]), record["since"], record["changed"], record["over"], told)
