"""The evaluation as Markdown: tables, and one page with every table and picture."""

from collections.abc import Mapping, Sequence

from mlops_assets.lib.evaluation import plots
from mlops_assets.lib.evaluation.intervals import Interval
from mlops_assets.lib.evaluation.slices import Gap, Measure, Slice, allowed_gaps
from mlops_assets.lib.spec.gate import Gate

Scores = Mapping[str, Interval]


def score_table(scores: Scores, dummy: Scores | None = None) -> str:
    """Metrics with their intervals, a line each, beside those of the dummy baseline."""
    lines = [["metric", "value", "95 % interval"]]
    lines += [
        [name, f"{score.value:.3f}", f"{score.low:.3f} to {score.high:.3f}"]
        for name, score in scores.items()
    ]
    if dummy is not None:
        lines[0].append("dummy")
        for line in lines[1:]:
            line.append(f"{dummy[line[0]].value:.3f}")
    return table(lines)


def reachable(best: float, out_of_fold: Scores, test: Scores) -> str:
    """The winner's ROC AUC beside the best that any model can reach on rows that were generated."""
    said = ", ".join(
        f"{scores['roc_auc']} {where} ({scores['roc_auc'].value - best:+.3f})"
        for where, scores in (("out of fold", out_of_fold), ("on the test rows", test))
    )
    return (
        f"The rows were generated: no model can reach a ROC AUC above {best:.4f} on them, but by "
        f"chance. The winner has {said}."
    )


def contest_table(standings: Mapping[str, Scores], winner: str) -> str:
    """The candidates side by side: a line a metric.

    Args:
        standings: Metrics by candidate, in the order of the columns.
        winner: Is marked.
    """
    titles = [f"**{name}** (wins)" if name == winner else name for name in standings]
    lines = [["out of fold", *titles]]
    for metric in standings[winner]:
        lines.append([metric, *(str(scores[metric]) for scores in standings.values())])
    return table(lines)


def slice_table(looked: Sequence[Slice], gate: Gate) -> str:
    """The winner by the values of the slice columns, against the rest of the rows.

    Args:
        looked: The slices.
        gate: Says how much worse a slice may be.
    """
    if not looked:
        return "the spec names no columns to slice by"
    allowed = allowed_gaps(gate)
    titles = [f"{name} (may be {worst(name)} {limit:g})" for name, limit in allowed.items()]
    lines = [["slice", "rows", "positives", *titles]]
    for each in looked:
        behind = each.falls_behind(gate)
        cells = [
            f"{gap_text(each.gaps[name])}{' **worse**' if name in behind else ''}"
            if name in each.gaps
            else "one class only"
            for name in allowed
        ]
        rows = str(each.rows) if each.judged else f"{each.rows} (too few to judge)"
        lines.append([f"{each.column} = {each.value}", rows, str(each.positives), *cells])
    return table(lines)


def worst(measure: Measure) -> str:
    """On which side of the rest a slice is worse."""
    return "above by" if measure == "false_positive_rate" else "below by"


def gap_text(gap: Gap) -> str:
    """A slice's measure, and by how much it differs from the rest."""
    by = gap.difference
    return f"{gap.of_slice:.3f} ({by.value:+.3f}: {by.low:+.3f} to {by.high:+.3f})"


def calibration_table(error: Interval, slope: Interval | None, gate: Gate) -> str:
    """The two figures of calibration beside what is allowed."""
    low, high = gate.calibration_slope
    shown = "none: all scores are equal" if slope is None else str(slope)
    return table(
        [
            ["out of fold", "value (95 % interval)", "right", "limit"],
            ["expected calibration error", str(error), "0", f"{gate.calibration_error:g}"],
            ["calibration slope", shown, "1", f"{low:g} to {high:g}"],
        ]
    )


def page(tables: Mapping[str, str], pictures: Mapping[str, bytes]) -> str:
    """Everything on one page: Dagster shows a long text after a click, and a picture is long."""
    parts = [f"### {name}\n\n{table}" for name, table in tables.items()]
    parts += [f"### {name}\n\n{plots.markdown(png, name)}" for name, png in pictures.items()]
    return "\n\n".join(parts)


def table(lines: Sequence[Sequence[str]]) -> str:
    """Cells as a Markdown table; the first line is the head."""
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in ruled]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
