"""The prediction log of the serving app: where its files lie, by the day of what they hold.

``docs/prediction-log.md`` has their columns, and what the app promises about them.
"""

import re
from datetime import date
from typing import Literal

from mlops_assets.lib.storage.root import PARTIAL_PREFIX, Storage

Kind = Literal["served", "feedback"]
KINDS: tuple[Kind, ...] = ("served", "feedback")
_DAY = re.compile(r"day=(\d{4}-\d\d-\d\d)")


def days(store: Storage, use_case: str, kind: Kind) -> dict[date, str]:
    """The key of the folder of each day, the oldest first."""
    found = {}
    for name in store.list(f"{use_case}/{kind}"):
        match = _DAY.fullmatch(name)
        if match is not None:
            found[date.fromisoformat(match[1])] = f"{use_case}/{kind}/{name}"
    return found


def files(store: Storage, use_case: str, kind: Kind) -> dict[str, date]:
    """The UTC day of what each file holds, by its key."""
    found = {}
    for each in store.files(f"{use_case}/{kind}"):
        folder, name = each.key.split("/")[-2:]
        match = _DAY.fullmatch(folder)
        if match is not None and name.endswith(".parquet") and not name.startswith(PARTIAL_PREFIX):
            found[each.key] = date.fromisoformat(match[1])
    return found
