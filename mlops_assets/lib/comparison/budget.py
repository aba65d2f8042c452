"""How strict a contest is: the judged rows are used again and again, and chance gets no second try.

Each champion has one budget of error, ``alpha``: the chance that, over all contests against it, a
model that is no better takes its place. Contest ``k`` spends ``alpha / (k (k + 1))`` of it, whose
sum over any number of contests is at most ``alpha`` (alpha spending: Tian and Ramdas, "Online
control of the familywise error rate", 2021). A union bound is enough, although each challenger is
made after the verdicts before it: as long as nobody was promoted, all that those gave away is that
they did not promote (the argument of Blum and Hardt, "The Ladder", 2015).

A promotion makes another champion, and so a new budget: this is alpha investing (Foster and Stine
2008), whose expected number of wrong promotions is at most ``alpha`` times one more than that of
all promotions. Rows that nobody has looked at make a new budget, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from mlops_assets.lib.records.history import VERDICTS


def look(
    entries: Iterable[Mapping[str, Any]],
    champion: str,
    challenger: str,
    rows: int,
    fresh_share: float,
) -> int:
    """The number of a contest among those that share a budget, from 1.

    The ledger is all that is asked. Judged rows are counted, and not named: rows join and seldom
    leave, and where some leave, fewer count as fresh than are, which is the stricter side. A
    contest whose scores could not be compared has spent nothing.

    Args:
        entries: Of the ledger, first to last; those of the gate with a ``verdict`` are contests.
        champion: Digest of its bundle.
        challenger: Digest of its bundle; judged again it keeps its number.
        rows: How many are judged now.
        fresh_share: The share of the judged rows from which on those that joined since the budget's
            first contest make a new budget.
    """
    contests = [
        (verdict["challenger"], verdict["rows"])
        for verdict in (e.get("verdict") for e in entries if e["decision"] in VERDICTS)
        if verdict is not None and verdict["champion"] == champion and verdict["look"] is not None
    ]
    numbers: dict[str, int] = {}
    first_rows = 0
    for contestant, judged in [*contests, (challenger, rows)]:
        if not numbers or judged - first_rows >= fresh_share * judged:
            numbers, first_rows = {}, judged
        numbers.setdefault(contestant, len(numbers) + 1)
    return numbers[challenger]


def level(alpha: float, number: int) -> float:
    """What a contest may spend.

    Args:
        alpha: The budget, 0 to 1.
        number: Of the contest, from 1.
    """
    return alpha / (number * (number + 1))
