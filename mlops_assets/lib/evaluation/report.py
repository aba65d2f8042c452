"""The evaluation as Markdown: tables, and one page with every table and picture."""

from collections.abc import Mapping, Sequence

from mlops_assets.lib.evaluation import plots
from mlops_assets.lib.evaluation.contest import Slice
from mlops_assets.lib.evaluation.intervals import Interval
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
    return _table(lines)


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
    return _table(lines)


def slice_table(looked: Sequence[Slice], overall: float, gate: Gate) -> str:
    """The winner by the values of the slice columns.

    Args:
        looked: The slices.
        overall: ROC AUC of the whole.
        gate: Says which slices are judged, and how.
    """
    if not looked:
        return "the spec names no columns to slice by"
    lines = [["slice", "rows", "positives", "ROC AUC", "against the whole"]]
    for each in looked:
        if each.roc_auc is None:
            score, gap = "one class only", ""
        else:
            score, gap = str(each.roc_auc), f"{each.roc_auc.value - overall:+.3f}"
            if each.rows < gate.slice_minimum_rows:
                gap += " (too few rows to judge)"
            elif each.falls_behind(overall, gate):
                gap += " **behind**"
        name = f"{each.column} = {each.value}"
        lines.append([name, str(each.rows), str(each.positives), score, gap])
    return _table(lines)


def page(tables: Mapping[str, str], pictures: Mapping[str, bytes]) -> str:
    """Everything on one page: Dagster shows a long text after a click, and a picture is long."""
    parts = [f"### {name}\n\n{table}" for name, table in tables.items()]
    parts += [f"### {name}\n\n{plots.markdown(png, name)}" for name, png in pictures.items()]
    return "\n\n".join(parts)


def _table(lines: Sequence[Sequence[str]]) -> str:
    ruled = [lines[0], ["---"] * len(lines[0]), *lines[1:]]
    cells = [[cell.replace("|", "\\|") for cell in line] for line in ruled]
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
