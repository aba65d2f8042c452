import base64
import io
from collections.abc import Callable
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from mlops_assets.lib.evaluation import plots
from mlops_assets.lib.evaluation.contest import calibration_curve, confusion, cost_curve
from mlops_assets.lib.evaluation.intervals import Interval, with_intervals
from mlops_assets.lib.spec.gate import Decision

Floats = NDArray[np.float64]
ROWS = 300
DECISION = Decision(cost_false_positive=1, cost_false_negative=3)
NAMES = ["logistic_regression", "random_forest", "xgboost"]


def outcome(rows: int = ROWS) -> Floats:
    return (np.random.default_rng(1).random(rows) < 0.4).astype(np.float64)


def scored(noise: float) -> Floats:
    random = np.random.default_rng(2)
    found: Floats = np.clip(0.2 + 0.6 * outcome() + noise * random.normal(size=ROWS), 0, 1)
    return found


PROBABILITIES = {name: scored(0.2 + number / 9) for number, name in enumerate(NAMES)}
SCORES = {name: with_intervals(outcome(), p, 0.25, seed=1) for name, p in PROBABILITIES.items()}


def shapley(features: int = 15) -> tuple[Floats, NDArray[np.float32], list[str]]:
    random = np.random.default_rng(3)
    recorded = random.normal(size=(ROWS, features)).astype(np.float32)
    recorded[random.random(recorded.shape) < 0.2] = np.nan
    values = random.normal(size=(ROWS, features)) * np.linspace(0.01, 0.1, features)
    return values, recorded, [f"feature_{number}" for number in range(features)]


def contest(names: list[str] = NAMES, winner: str = "xgboost") -> bytes:
    return plots.contest({name: SCORES[name] for name in names}, winner)


def curves(names: list[str] = NAMES, winner: str = "xgboost") -> bytes:
    return plots.curves(outcome(), {name: PROBABILITIES[name] for name in names}, winner)


def calibration(noise: float = 0.2) -> bytes:
    return plots.calibration(calibration_curve(outcome(), scored(noise)), Interval(1.0, 0.8, 1.2))


def confused(threshold: float = 0.25) -> bytes:
    return plots.confusion(confusion(outcome(), scored(0.2), threshold), ("well", "ill"))


def cost(decision: Decision = DECISION) -> bytes:
    return plots.cost(cost_curve(outcome(), scored(0.2), decision))


def contributions(features: int = 15) -> bytes:
    return plots.contributions(*shapley(features))


EVERY: dict[str, Callable[[], bytes]] = {
    "contest": contest,
    "curves": curves,
    "calibration": calibration,
    "confusion": confused,
    "cost": cost,
    "contributions": contributions,
}


def pixels(png: bytes) -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(png)).convert("RGB"))


def shown(png: bytes) -> None:
    """A picture that can be read and is not empty."""
    assert png.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(np.unique(pixels(png).reshape(-1, 3), axis=0)) > 3


@pytest.mark.parametrize("name", list(EVERY))
def test_picture_is_a_small_png(name: str) -> None:
    png = EVERY[name]()
    shown(png)
    assert len(png) < 40_000


@pytest.mark.parametrize("name", list(EVERY))
def test_same_numbers_give_the_same_bytes(name: str) -> None:
    png = EVERY[name]()
    assert png == EVERY[name]()
    for told in (b"Software", b"Creation", mpl.__version__.encode()):
        assert told not in png


CHANGED: list[tuple[str, Callable[[], bytes]]] = [
    ("contest", lambda: contest(NAMES[:2], "random_forest")),
    ("contest", lambda: contest(winner="random_forest")),
    ("curves", lambda: curves(winner="random_forest")),
    ("calibration", lambda: calibration(0.3)),
    ("confusion", lambda: confused(0.6)),
    ("cost", lambda: cost(Decision())),
    ("contributions", lambda: contributions(14)),
]


@pytest.mark.parametrize(("name", "other"), CHANGED)
def test_other_numbers_give_another_picture(name: str, other: Callable[[], bytes]) -> None:
    assert EVERY[name]() != other()


def test_winner_alone_is_in_the_main_colour() -> None:
    colour = np.array([int(plots.MAIN[place : place + 2], 16) for place in (1, 3, 5)])

    def rows(winner: str) -> Any:
        left = pixels(contest(winner=winner))
        near = (np.abs(left.astype(int) - colour).max(axis=2) < 12).any(axis=1)
        return np.flatnonzero(near).mean()

    first, second, third = (rows(name) for name in NAMES)
    assert first < second < third


def test_one_candidate_is_enough() -> None:
    shown(contest(NAMES[:1], NAMES[0]))
    shown(curves(NAMES[:1], NAMES[0]))


def test_dummy_stands_beside_the_candidates() -> None:
    flat = {metric: Interval(0.5, 0.5, 0.5) for metric in ("roc_auc", "log_loss")}
    shown(plots.contest({**SCORES, "dummy": flat}, "xgboost"))


def test_calibration_in_one_bin_is_drawn() -> None:
    shown(plots.calibration(calibration_curve(outcome(), np.full(ROWS, 0.4)), None))


def test_decisions_that_are_all_the_same_are_drawn() -> None:
    shown(confused(2.0))


def test_cost_of_a_threshold_at_the_edge_is_drawn() -> None:
    shown(cost(Decision(cost_false_positive=1, cost_false_negative=1000)))


@pytest.mark.parametrize("odd", [np.nan, 3.0, np.inf])
def test_feature_without_a_spread_is_drawn(odd: float) -> None:
    values, features, names = shapley(3)
    features[:, 1] = odd
    shown(plots.contributions(values, features, names))


def test_features_without_a_spread_alone_are_drawn() -> None:
    values, features, names = shapley(2)
    shown(plots.contributions(values, np.full_like(features, np.nan), names))
    shown(plots.contributions(values * 0, np.zeros_like(features), names))


def test_single_feature_of_a_single_row_is_drawn() -> None:
    shown(plots.contributions(np.array([[0.1]]), np.array([[2]], dtype=np.float32), ["age"]))


def test_only_the_features_that_move_most_are_drawn() -> None:
    values, features, names = shapley(plots.MOST_FEATURES + 3)
    whole = plots.contributions(values, features, names)
    strongest = slice(3, None)
    assert whole == plots.contributions(values[:, strongest], features[:, strongest], names[3:])


def test_labels_are_taken_literally() -> None:
    counts = confusion(outcome(), scored(0.2), 0.25)
    shown(plots.confusion(counts, ("< $50_$", "> $50_$ \\frac{")))
    values, features, _ = shapley(2)
    shown(plots.contributions(values, features, ["$price^$", "$\\cost$"]))


def test_markdown_holds_the_picture() -> None:
    png = cost()
    text = plots.markdown(png, "cost")
    assert text.startswith("![cost](data:image/png;base64,")
    assert text.endswith(")")
    held = text.removeprefix("![cost](data:image/png;base64,").removesuffix(")")
    assert base64.b64decode(held, validate=True) == png


def test_pictures_leave_the_settings_of_matplotlib_alone() -> None:
    before = dict(mpl.rcParams)
    for draw in EVERY.values():
        draw()
    assert dict(mpl.rcParams) == before
