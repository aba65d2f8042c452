"""The verdict on a window: which columns have drifted, how far, and in one sentence why."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.drift.discovery import adjusted
from mlops_assets.lib.drift.measure import Measured, measure
from mlops_assets.lib.drift.sides import Pair, connected, count
from mlops_assets.lib.spec.drift import Drift, MinimumEffect

if TYPE_CHECKING:
    import duckdb

REASONS = 3


@dataclass(frozen=True)
class Finding:
    """A column of a window.

    Attributes:
        measured: Its figures.
        found: The adjusted p-values of its tests, by what they are about: ``distribution``,
            ``missing``.
        effect: Its largest effect as a multiple of the least that matters, where that was tested.
        drifted: What of it has drifted, out of the same two.
    """

    measured: Measured
    found: dict[str, float]
    effect: float
    drifted: list[str]

    @property
    def decides(self) -> bool:
        """Whether it counts for the window."""
        return self.measured.kind != "feature"


@dataclass(frozen=True)
class Window:
    """The verdict on a window.

    Attributes:
        rows: How many there are now.
        reference_rows: How many they are compared with.
        findings: The largest effect first.
        left_out: What could not be compared, in words.
        drifted: Whether so many columns have drifted as the spec names.
        why_not: Why the window was not judged; None where it was.
    """

    rows: int
    reference_rows: int
    findings: list[Finding] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    drifted: bool = False
    why_not: str | None = None

    @property
    def score(self) -> float | None:
        """The drift score: the share of drifted columns; None where nothing was compared."""
        counted = [finding for finding in self.findings if finding.decides]
        drifted = sum(bool(finding.drifted) for finding in counted)
        return drifted / len(counted) if counted else None

    @property
    def effect(self) -> float:
        """The largest effect, as a multiple of the least that matters."""
        return max((f.effect for f in self.findings if f.decides), default=0.0)

    @property
    def reason(self) -> str:
        """The verdict in one sentence."""
        if self.why_not is not None:
            return f"not judged: {self.why_not}"
        counted = [finding for finding in self.findings if finding.decides]
        said = [sentence(finding) for finding in counted if finding.drifted]
        if not said:
            return f"nothing drifted in {len(counted)} columns of {self.rows} rows"
        more = [f"and {len(said) - REASONS} more columns drifted"] if len(said) > REASONS else []
        few = "" if self.drifted else "not enough to alarm: "
        return few + ", ".join([*said[:REASONS], *more])

    def record(self) -> dict[str, Any]:
        """Everything as JSON-compatible values."""
        return {
            "rows": self.rows,
            "reference_rows": self.reference_rows,
            "drifted": self.drifted,
            "judged": self.why_not is None,
            "score": self.score,
            "effect": self.effect,
            "reason": self.reason,
            "left_out": self.left_out,
            "columns": [
                asdict(finding.measured)
                | {
                    "adjusted": finding.found,
                    "effect": finding.effect,
                    "drifted": finding.drifted,
                }
                for finding in self.findings
            ],
        }


def compare(pairs: Sequence[Pair], plan: Drift) -> Window:
    """Compare two sides out of core.

    Args:
        pairs: What is compared; the rows of the first pair are those of the window.
        plan: Least sample, least effect and what makes an alarm.
    """
    with connected() as database:
        return compare_on(database, pairs, plan)


def compare_on(database: duckdb.DuckDBPyConnection, pairs: Sequence[Pair], plan: Drift) -> Window:
    """The same on a connection that knows the relations."""
    reference_rows, rows = (
        count(database, relation) for relation in (pairs[0].reference, pairs[0].current)
    )
    why_not = too_few(reference_rows, rows, plan.minimum_rows)
    if why_not is not None:
        return Window(rows, reference_rows, why_not=why_not)
    return judge(*measure(database, pairs, plan.minimum_rows), rows, reference_rows, plan)


def too_few(reference_rows: int, rows: int, minimum: int) -> str | None:
    """Why a window cannot be judged; None if it can."""
    for said, there in (("there are", rows), ("the reference has", reference_rows)):
        if there < minimum:
            return f"{said} {there or 'no'} rows, and drift.minimum_rows is {minimum}"
    return None


def judge(
    measured: Sequence[Measured], left_out: list[str], rows: int, reference_rows: int, plan: Drift
) -> Window:
    """Decide upon what was measured.

    All tests of what decides are one family: a column has up to two, of its distribution and of
    what it lacks. Features are a family of their own, since each follows from its inputs.
    """
    findings: list[Finding] = []
    for family in (True, False):
        some = [one for one in measured if (one.kind != "feature") == family]
        tests = [
            (n, about, p)
            for n, one in enumerate(some)
            for about, p in (("distribution", one.p_value), ("missing", one.missing_p))
            if p is not None
        ]
        found: list[dict[str, float]] = [{} for _ in some]
        for (n, about, _), p in zip(tests, adjusted([p for _, _, p in tests]), strict=True):
            found[n][about] = p
        findings += [_finding(one, ps, plan) for one, ps in zip(some, found, strict=True)]
    findings.sort(key=lambda finding: -finding.effect)
    drifted = sum(bool(finding.drifted) for finding in findings if finding.decides)
    return Window(rows, reference_rows, findings, left_out, drifted >= plan.columns)


def _finding(measured: Measured, found: dict[str, float], plan: Drift) -> Finding:
    multiples = {about: _multiple(measured, about, plan.minimum_effect) for about in found}
    return Finding(
        measured,
        found,
        max(multiples.values(), default=0.0),
        [
            about
            for about, p in found.items()
            if p <= plan.false_discovery_rate and multiples[about] >= 1
        ],
    )


def _multiple(measured: Measured, about: str, least: MinimumEffect) -> float:
    """The effect behind a test, as a multiple of the least that matters."""
    if about == "missing":
        effects = {"missing": abs(measured.missing[1] - measured.missing[0])}
    else:
        effects = dict(measured.effects)
    # Where the least is nothing, every difference matters.
    return max(value / max(least.limit(name), 1e-9) for name, value in effects.items())


def sentence(finding: Finding) -> str:
    """What has happened to a column, in a few words."""
    one, said = finding.measured, []
    name = "the score" if one.kind == "score" else one.name
    figures = one.figures
    if "missing" in finding.drifted:
        before, now = one.missing
        said.append(f"{name} is missing in {now:.0%} of the rows ({before:.0%} before)")
    if "distribution" in finding.drifted:
        if one.new:
            value, share = max(one.new.items(), key=lambda item: item[1])
            if share >= 0.01:
                said.append(f"{name} has the new value {value!r} in {share:.0%}")
        if "shift" in figures:
            test = f" ({one.test} {figures['statistic']:.2f})" if one.test == "KS" else ""
            said.append(f"{name} shifted by {figures['shift']:.2g} standard deviations{test}")
        elif "jensen_shannon" in figures:
            said.append(f"{name} has other shares (JS {figures['jensen_shannon']:.2f})")
        else:
            said.append(f"{name} was constant and is not (PSI {figures['stability_index']:.2f})")
    return " and ".join(said)
