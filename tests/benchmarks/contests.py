"""How often the gate promotes whom, beside a gate that asks for ``>=`` on the test rows.

``python -m tests.benchmarks.contests [picture.png]``: contests of models that are really trained,
by linear discriminant analysis, whose fit is a formula, on normal features: two models with
equally informative features are equal by symmetry, whatever training makes of them. Out-of-fold
scores come from five folds, the training side has four times the test rows, three rows in ten are
positive, and three of the six features of every model are the champion's, too. Beside them contests
of scores that are drawn, so that the true difference is exact.

Targets: an equal challenger is promoted in at most 5 % of contests, one worse by 2 points in at
most 1 % at 300 test rows, and an equal one at least once in 52 contests in few years.
"""

import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product, repeat
from math import sqrt
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from mlops_assets.lib.comparison.budget import level
from mlops_assets.lib.comparison.delong import Placements, compare, placements
from mlops_assets.lib.comparison.statistic import Part, difference, out_of_fold_part
from mlops_assets.lib.comparison.verdict import outcome_of
from mlops_assets.lib.spec.gate import Comparison

Floats = NDArray[np.float64]

FOLDS, POSITIVE, TRAINING = 5, 0.3, 4
OWN, SHARED = 3, 3
CHAMPION = 0.85
WEEKS = 52
SIZES = {60: (1000, 500), 300: (1000, 300), 3000: (1000, 50)}
CHUNKS = 20
TERMS = Comparison()
AUC = NormalDist()


@dataclass(frozen=True)
class Scored:
    """A model on the rows of a contest."""

    trained: Placements
    test: Placements


@dataclass(frozen=True)
class Case:
    """A kind of contest: what the challenger's candidates are worth, and how many there are."""

    name: str
    auc: float
    candidates: int
    is_drawn: bool = False
    own: int = OWN


CASES = [
    Case("equal", CHAMPION, 1),
    Case("equal, the best of five", CHAMPION, 5),
    Case("equal, of thirty features", CHAMPION, 1, own=27),
    Case("worse by 2 points", CHAMPION - 0.02, 1),
    Case("worse by 2 points, the best of five", CHAMPION - 0.02, 5),
    Case("better by 5 points", CHAMPION + 0.05, 1),
    Case("better by 5 points, the best of five", CHAMPION + 0.05, 5),
    Case("equal, drawn", CHAMPION, 1, True),
    Case("worse by 2 points, drawn", CHAMPION - 0.02, 1, True),
    Case("better by 5 points, drawn", CHAMPION + 0.05, 1, True),
]


def effect(auc: float, features: int) -> float:
    """How far the classes lie apart in each of some independent features that reach an AUC."""
    return AUC.inv_cdf(auc) * sqrt(2 / features)


def discriminant(features: Floats, target: Floats, test: Floats) -> tuple[Floats, Floats]:
    """Out-of-fold scores of the training rows, and scores of the test rows.

    Args:
        features: Of the training rows, by fold, shape ``[folds, n, f]``.
        target: Likewise, shape ``[folds, n]``.
        test: Of the test rows, shape ``[m, f]``.
    """
    ones = np.einsum("kn,knf->kf", target, features)
    zeros = features.sum(axis=1) - ones
    squares = np.swapaxes(features, 1, 2) @ features
    counts = np.stack([(1 - target).sum(axis=1), target.sum(axis=1)], axis=1)

    def without(of_fold: Floats) -> Floats:
        """The sum over all folds but each, and at the end over all."""
        every = of_fold.sum(axis=0)
        return np.concatenate([every - of_fold, every[None]])

    ones, zeros, squares, counts = map(without, (ones, zeros, squares, counts))
    low, high = zeros / counts[:, :1], ones / counts[:, 1:]
    within = squares - sum(
        count[:, None, None] * mean[:, :, None] * mean[:, None, :]
        for count, mean in ((counts[:, 0], low), (counts[:, 1], high))
    )
    covariance = within / (counts.sum(axis=1) - 2)[:, None, None]
    weights = np.linalg.solve(covariance, (high - low)[:, :, None])[:, :, 0]
    # The folds' scores are pooled: they must be of one scale, as calibrated ones are.
    prior = np.log(counts[:, 1] / counts[:, 0])
    offsets = prior - ((low + high) * weights).sum(axis=1) / 2
    out_of_fold = np.einsum("knf,kf->kn", features, weights[:-1]) + offsets[:-1, None]
    return out_of_fold.ravel(), test @ weights[-1]


def classes(random: np.random.Generator, test_rows: int) -> tuple[Floats, Floats]:
    """The target of the training rows and of the test rows."""
    rows = test_rows * (1 + TRAINING)
    target = (random.random(rows) < POSITIVE).astype(np.float64)
    return target[test_rows:], target[:test_rows]


def trained(
    random: np.random.Generator, test_rows: int, aucs: list[float], own: int = OWN
) -> tuple[list[Scored], Floats, Floats]:
    """Models that could reach these AUCs, trained on the same rows; the targets of both sides."""
    target, tested = classes(random, test_rows)
    every = np.concatenate([tested, target])
    apart = effect(CHAMPION, own + SHARED)
    shared = random.normal(size=(len(every), SHARED)) + apart * every[:, None]
    found = []
    for auc in aucs:
        # The features that are shared are worth what they are worth: the others make the rest.
        rest = 2 * AUC.inv_cdf(auc) ** 2 - SHARED * apart**2
        others = random.normal(size=(len(every), own)) + sqrt(rest / own) * every[:, None]
        features = np.concatenate([shared, others], axis=1)
        by_fold = features[test_rows:].reshape(FOLDS, -1, own + SHARED)
        scores = discriminant(by_fold, target.reshape(FOLDS, -1), features[:test_rows])
        found.append(Scored(placements(target, scores[0]), placements(tested, scores[1])))
    return found, target, tested


def drawn(
    random: np.random.Generator, test_rows: int, aucs: list[float], _own: int
) -> tuple[list[Scored], Floats, Floats]:
    """Scores with exactly these AUCs, half of whose noise is the same."""
    target, tested = classes(random, test_rows)
    common = [random.normal(size=len(side)) for side in (target, tested)]
    found = []
    for auc in aucs:
        sides = [
            placements(
                side, effect(auc, 1) * side + (noise + random.normal(size=len(side))) / sqrt(2)
            )
            for side, noise in zip((target, tested), common, strict=True)
        ]
        found.append(Scored(*sides))
    return found, target, tested


def promotes(
    challenger: Scored,
    champion: Scored,
    target: Floats,
    tested: Floats,
    candidates: int,
    look: int = 1,
) -> bool:
    """Whether the default gate promotes."""
    trained_on = len(target), int(target.sum()), compare(challenger.trained, champion.trained)
    parts = [
        Part(len(tested), int(tested.sum()), compare(challenger.test, champion.test)),
        out_of_fold_part(*trained_on, FOLDS, candidates),
    ]
    found = difference(parts, level(TERMS.alpha, look))
    return outcome_of(found, TERMS.margin) in TERMS.promote


def is_as_good(challenger: Scored, champion: Scored) -> bool:
    """What a gate asks that compares by ``>=`` on the test rows."""
    return challenger.test.auc >= champion.test.auc


def contests(case: Case, test_rows: int, seed: int, count: int) -> tuple[int, int]:
    """How often the gate promotes, and how often ``>=`` does."""
    random = np.random.default_rng([seed, test_rows])
    make = drawn if case.is_drawn else trained
    promoted = as_good = 0
    with threadpool_limits(1):
        for _ in range(count):
            aucs = [CHAMPION, *[case.auc] * case.candidates]
            (champion, *others), target, tested = make(random, test_rows, aucs, case.own)
            best = max(others, key=lambda scored: scored.trained.auc)
            promoted += promotes(best, champion, target, tested, case.candidates)
            as_good += is_as_good(best, champion)
    return promoted, as_good


def spread(own: int, test_rows: int, count: int) -> tuple[float, float]:
    """The variance of a difference between equals, in parts of what DeLong's method says.

    Returns:
        Out of fold, and on the test rows.
    """
    random = np.random.default_rng(own)
    pairs = []
    with threadpool_limits(1):
        for _ in range(count):
            (one, other), *_ = trained(random, test_rows, [CHAMPION] * 2, own)
            pairs.append((compare(one.trained, other.trained), compare(one.test, other.test)))
    out_of_fold, test = (
        float(np.var([p.difference for p in side]) / np.mean([p.standard_error**2 for p in side]))
        for side in zip(*pairs, strict=True)
    )
    return out_of_fold, test


def years(test_rows: int, seed: int, count: int) -> tuple[int, int]:
    """In how many years one of 52 equal challengers is promoted, on the same rows every week."""
    random = np.random.default_rng([seed, test_rows])
    promoted = as_good = 0
    with threadpool_limits(1):
        for _ in range(count):
            aucs = [CHAMPION] * (1 + WEEKS)
            (champion, *others), target, tested = trained(random, test_rows, aucs)
            promoted += any(
                promotes(other, champion, target, tested, 1, look)
                for look, other in enumerate(others, start=1)
            )
            as_good += any(is_as_good(other, champion) for other in others)
    return promoted, as_good


def shared_out(
    process: ProcessPoolExecutor, step: Callable[..., tuple[int, int]], count: int, *given: object
) -> tuple[float, float]:
    """The shares that a step finds, its work shared out."""
    each = max(1, count // CHUNKS)
    seeds = range(1, count // each + 1)
    found = list(process.map(step, *map(repeat, given), seeds, repeat(each)))
    made = each * len(seeds)
    return sum(one for one, _ in found) / made, sum(two for _, two in found) / made


def table(header: str, results: dict[str, dict[int, tuple[float, float]]]) -> Iterator[str]:
    """A Markdown table: the gate and ``>=`` by number of test rows."""
    yield f"| {header} | " + " | ".join(f"{n:,} rows: gate | `>=`" for n in SIZES) + " |"
    yield "| --- |" + " --- | --- |" * len(SIZES)
    for name, by_rows in results.items():
        cells = [f"{gate:.1%} | {as_good:.1%}" for gate, as_good in by_rows.values()]
        yield f"| {name} | " + " | ".join(cells) + " |"


def draw(results: dict[str, dict[int, tuple[float, float]]], path: Path) -> None:
    """Draw how often either gate promotes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    panels = figure.subplots(1, len(SIZES), sharey=True)
    names = list(results)
    for panel, rows in zip(panels, SIZES, strict=True):
        at = np.arange(len(names))
        for offset, which, label in ((-0.2, 0, "this gate"), (0.2, 1, ">= on test rows")):
            shares = [100 * results[name][rows][which] for name in names]
            panel.barh(at + offset, shares, 0.38, label=label, color=("#1f6f8b", "#d9a441")[which])
        panel.axvline(5, color="black", linewidth=0.8, linestyle=":")
        panel.set(yticks=at, yticklabels=names, xlim=(0, 100), title=f"{rows:,} test rows")
        panel.set_xlabel("promoted, %")
    panels[0].invert_yaxis()
    bars, labels = panels[0].get_legend_handles_labels()
    figure.legend(bars, labels, loc="outside lower center", ncols=2)
    figure.savefig(path, dpi=90)


def main() -> None:
    """Print the tables and draw the picture."""
    results: dict[str, dict[int, tuple[float, float]]] = {}
    with ProcessPoolExecutor() as process:
        for case in CASES:
            results[case.name] = {
                rows: shared_out(process, contests, many, case, rows)
                for rows, (many, _) in SIZES.items()
            }
            print(case.name, *results[case.name].values(), file=sys.stderr, flush=True)
        yearly = {rows: shared_out(process, years, some, rows) for rows, (_, some) in SIZES.items()}
    print("\n".join(table("the challenger is", results)), "\n")
    for rows, own in product((60, 300), (3, 27, 57)):
        found = spread(own, rows, 1000)
        said = "out of fold {:.2f}, on the test rows {:.2f}".format(*found)
        print(f"variance / DeLong's, {own + SHARED} features, {rows} test rows: {said}")
    print("\n".join(table("of 52 equal in a row", {"at least one": yearly})))
    if sys.argv[1:]:
        shown = {name: found for name, found in results.items() if "drawn" not in name}
        draw({**shown, "one of 52 equal in a row": yearly}, Path(sys.argv[1]))


if __name__ == "__main__":
    main()
