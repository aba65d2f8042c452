"""Which verdicts promote, and why, in a sentence for the ledger."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from mlops_assets.lib.comparison.verdict import Verdict
from mlops_assets.lib.spec.gate import Comparison

Shifted = Callable[[], str | None]


@dataclass(frozen=True)
class Promotion:
    """Whether a verdict promotes, and why or why not."""

    promotes: bool
    why: str


def promotion(
    verdict: Verdict,
    terms: Comparison,
    champion_age_days: float,
    shifted: Shifted,
) -> Promotion:
    """Apply the spec to a verdict.

    Args:
        verdict: Of the contest.
        terms: Of the spec.
        champion_age_days: Since its promotion; 0 without a champion.
        shifted: Says what has drifted since the champion was trained, or None. It is asked only if
            the answer hangs on it.
    """
    if verdict.outcome == "first":
        return Promotion(True, "there is no champion: the first version needs its floors only")
    if verdict.outcome == "better" and "better" in terms.promote:
        return Promotion(True, "better than the champion")
    if verdict.outcome != "equivalent":
        return Promotion(False, f"{verdict.outcome} does not promote (gate.comparison.promote)")
    if verdict.answers_alike:
        return Promotion(False, "a tie: it ranks every row as the champion does")
    if "equivalent" in terms.promote:
        return Promotion(True, "as good as the champion, which is enough (gate.comparison.promote)")
    when = terms.equivalent_when
    limit, refused = when.champion_older_than_days, []
    if limit is not None:
        age = f"the champion serves since {champion_age_days:.0f} days, the limit is {limit:g}"
        if champion_age_days > limit:
            return Promotion(True, f"as good as the champion, and {age}")
        refused.append(age)
    if when.drifted:
        found = shifted()
        if found is not None:
            said = f"as good as the champion, and the rows have drifted since that: {found}"
            return Promotion(True, said)
        refused.append("no input has drifted since it was trained")
    return Promotion(False, "; ".join(["as good as the champion does not promote", *refused]))
