"""Whether the accuracy of a day is below a level, and that surely.

A level counts as missed where the whole 95 % interval lies below it. With few rows the interval is
wide, and one unlucky day is no alarm: a model that is exactly as good as the level alarms on one
day of forty, a better one on fewer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mlops_assets.lib.spec.alerts import ShareLevels

METRIC = "accuracy"
KINDS: tuple[Literal["measured"], Literal["estimated"]] = ("measured", "estimated")


@dataclass(frozen=True)
class Floor:
    """What is said of a day.

    Attributes:
        passed: Whether nothing is below the level that warns.
        critical: Whether something is below the critical one.
        said: Why, by measured value or by the estimate.
    """

    passed: bool
    critical: bool
    said: str


def missed(
    score: Mapping[str, float], levels: ShareLevels
) -> tuple[Literal["critical", "warning"], float] | None:
    """The worst level that an accuracy surely misses, and its limit; None where it misses none.

    Args:
        score: With ``high``, the upper end of its interval.
        levels: Of the spec.
    """
    if score["high"] < levels.critical:
        return "critical", levels.critical
    return ("warning", levels.warning) if score["high"] < levels.warning else None


def floor(versions: Sequence[Mapping[str, Any]], levels: ShareLevels) -> Floor:
    """Judge the champions of a day; where several have answered, the worst of them decides.

    Args:
        versions: Of the record of the day.
        levels: Of the spec.
    """
    found = [_one(each, levels) for each in versions if each["role"] == "champion"]
    if not found:
        return Floor(True, False, "not judged: the champion has answered nothing")
    return Floor(
        all(each.passed for each in found),
        any(each.critical for each in found),
        "; ".join(each.said for each in found),
    )


def _one(version: Mapping[str, Any], levels: ShareLevels) -> Floor:
    name = f"version {version['version']}"
    for how in KINDS:
        values = version[how]
        if values and METRIC in values:
            break
    else:
        return Floor(True, False, f"{name} is not judged: {'; '.join(version['said'])}")
    score = values[METRIC]
    rows = version["labelled"] if how == "measured" else version["rows"]
    said = (
        f"{name}: accuracy {how} {score['value']:.3f} ({score['low']:.3f} to {score['high']:.3f}) "
        f"on {rows} answers"
    )
    if (below := missed(score, levels)) is not None:
        kind, level = below
        return Floor(False, kind == "critical", f"{said}, below {level:g} ({kind})")
    if score["value"] < levels.warning:
        return Floor(True, False, f"{said}, below {levels.warning:g} but not surely")
    return Floor(True, False, f"{said}, not below {levels.warning:g}")
