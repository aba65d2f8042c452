"""Pictures of an evaluation: small PNGs that fit into the metadata of an asset.

They draw what the evaluation has computed and decide nothing. Same numbers, same bytes: no date and
no version of a library is written into a file.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.evaluation.contest import CostCurve
from mlops_assets.lib.evaluation.intervals import Interval

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

DOTS_PER_INCH = 80
MAIN, QUIET, ALERT = "#2f5d8c", "#9aa5b1", "#c2410c"
MOST_FEATURES = 12
COLOURS = 64


def markdown(png: bytes, alternative: str) -> str:
    """A picture as Markdown with nothing beside it."""
    return f"![{alternative}](data:image/png;base64,{base64.b64encode(png).decode()})"


def contest(scores: Mapping[str, Mapping[str, Interval]], winner: str) -> bytes:
    """Each candidate's out-of-fold ROC AUC and log loss with their intervals.

    Args:
        scores: Metrics by candidate; the dummy baseline may be among them.
        winner: Is drawn in the main colour.
    """
    figure, panels = _figure(2, width=9.0, height=0.6 + 0.36 * len(scores))
    names = list(scores)
    for axes, metric in zip(panels, ("roc_auc", "log_loss"), strict=True):
        for row, name in enumerate(names):
            score = scores[name][metric]
            colour = MAIN if name == winner else QUIET
            axes.plot([score.low, score.high], [row, row], color=colour, linewidth=2)
            axes.plot([score.value], [row], "o", color=colour)
        axes.set_yticks(
            range(len(names)), [name.replace("_", " ") for name in names], parse_math=False
        )
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(f"{metric.replace('_', ' ')}, out of fold, 95 % interval")
    panels[1].set_yticklabels([])
    return _png(figure)


def curves(target: Floats, probabilities: Mapping[str, Floats], winner: str) -> bytes:
    """ROC and precision-recall of every candidate, out of fold.

    Args:
        target: 0 or 1, shape ``[n]``.
        probabilities: By candidate, shape ``[n]``.
        winner: Is drawn in the main colour, on top.
    """
    from sklearn.metrics import precision_recall_curve, roc_curve

    figure, (roc, precision) = _figure(2, width=9.0, height=3.6)
    for name in sorted(probabilities, key=lambda name: name == winner):
        wins = name == winner
        style: dict[str, Any] = {"color": MAIN if wins else QUIET, "linewidth": 2 if wins else 1}
        label = winner.replace("_", " ") if wins else None
        alarms, hits, _ = roc_curve(target, probabilities[name])
        roc.plot(alarms, hits, label=label, **style)
        precisions, recalls, _ = precision_recall_curve(target, probabilities[name])
        precision.plot(recalls, precisions, **style)
    roc.plot([0, 1], [0, 1], ":", color=QUIET, linewidth=1)
    precision.axhline(float(target.mean()), linestyle=":", color=QUIET, linewidth=1)
    roc.set(xlabel="false-positive rate", ylabel="true-positive rate (recall)")
    precision.set(xlabel="recall", ylabel="precision", ylim=(0, 1.02))
    roc.legend(loc="lower right", frameon=False)
    return _png(figure)


def calibration(bins: Sequence[Mapping[str, float]], slope: Interval | None) -> bytes:
    """Observed share of positives against the mean score, with the rows of each bin.

    Args:
        bins: ``predicted``, ``observed`` and ``rows`` of each bin.
        slope: The calibration slope, if there is one.
    """
    figure, (axes,) = _figure(1, width=4.5, height=3.6)
    axes.plot([0, 1], [0, 1], ":", color=QUIET, linewidth=1)
    predicted, observed = ([b[side] for b in bins] for side in ("predicted", "observed"))
    axes.plot(predicted, observed, "-", color=MAIN, linewidth=1)
    largest = max(b["rows"] for b in bins)
    axes.scatter(predicted, observed, s=[8 + 90 * b["rows"] / largest for b in bins], color=MAIN)
    axes.set(xlabel="mean score (area: rows)", ylabel="observed share", xlim=(0, 1), ylim=(0, 1))
    if slope is not None:
        axes.set_title(f"slope {slope}", fontsize=9)
    return _png(figure)


def confusion(counts: Mapping[str, int], labels: tuple[str, str]) -> bytes:
    """Right and wrong decisions.

    Args:
        counts: ``true_negative``, ``false_positive``, ``false_negative``, ``true_positive``.
        labels: Of the negative and the positive class.
    """
    cells = [
        [counts["true_negative"], counts["false_positive"]],
        [counts["false_negative"], counts["true_positive"]],
    ]
    figure, (axes,) = _figure(1, width=4.5, height=3.2)
    axes.imshow(cells, cmap="Blues", vmin=0)
    middle = max(max(row) for row in cells) / 2
    for row, values in enumerate(cells):
        for column, value in enumerate(values):
            colour = "white" if value > middle else "black"
            axes.text(column, row, str(value), ha="center", va="center", color=colour, fontsize=14)
    axes.set_xticks([0, 1], labels, parse_math=False)
    axes.set_yticks([0, 1], labels, parse_math=False)
    axes.set(xlabel="decided", ylabel="true")
    return _png(figure)


def cost(curve: CostCurve) -> bytes:
    """Cost of a decision by threshold, with the threshold in use."""
    figure, (axes,) = _figure(1, width=4.5, height=3.2)
    axes.plot(curve.thresholds, curve.costs, color=MAIN, linewidth=1.5)
    axes.axvline(curve.chosen, color=ALERT, linewidth=1)
    axes.plot([curve.chosen], [curve.cost], "o", color=ALERT)
    axes.annotate(
        f"in use: {curve.chosen:.3g}",
        (curve.chosen, max(curve.costs)),
        xytext=(4, -4),
        textcoords="offset points",
        color=ALERT,
    )
    axes.set(xlabel="threshold", ylabel="mean cost of a row, out of fold", ylim=(0, None))
    return _png(figure)


def contributions(values: Floats, features: NDArray[np.float32], names: Sequence[str]) -> bytes:
    """What moved the answers: a dot for each row and feature, coloured by the feature's value.

    Args:
        values: Shapley values, shape ``[n, f]``.
        features: Of the same rows, shape ``[n, f]``, NaN where a value is missing.
        names: Of the features.
    """
    import numpy as np

    order = np.argsort(-np.abs(values).mean(axis=0), kind="stable")[:MOST_FEATURES]
    figure, (axes,) = _figure(1, width=9.0, height=0.9 + 0.3 * len(order))
    axes.axvline(0, color=QUIET, linewidth=1)
    scatter = np.random.default_rng(0).uniform(-0.3, 0.3, len(values))
    for row, feature in enumerate(order):
        place = features[:, feature].astype(float)
        low, high = np.nanquantile(place, [0.05, 0.95]) if np.isfinite(place).any() else (0, 1)
        scaled = np.clip((place - low) / ((high - low) or 1), 0, 1)
        axes.scatter(
            values[:, feature],
            row + scatter,
            c=np.where(np.isnan(scaled), 0.5, scaled),
            cmap="coolwarm",
            s=7,
            vmin=0,
            vmax=1,
            linewidths=0,
        )
    titles = [names[feature].replace("_", " ") for feature in order]
    axes.set_yticks(range(len(order)), titles, parse_math=False)
    axes.set_ylim(len(order) - 0.5, -0.5)
    axes.set_xlabel("change of the probability (blue: low value of the feature, red: high)")
    return _png(figure)


def _figure(panels: int, *, width: float, height: float) -> tuple[Figure, list[Axes]]:
    """A figure of its own: pyplot's global state would be shared by the steps of a run."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")
    axes = [figure.add_subplot(1, panels, number + 1) for number in range(panels)]
    for each in axes:
        each.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _png(figure: Figure) -> bytes:
    """Few colours: a third of the bytes, in every event of Dagster's that shows the picture."""
    from PIL import Image

    drawn, content = io.BytesIO(), io.BytesIO()
    figure.savefig(drawn, format="png")
    Image.open(drawn).convert("RGB").quantize(COLOURS).save(content, format="png", optimize=True)
    return content.getvalue()
