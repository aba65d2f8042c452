from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest

from mlops_assets.lib.spec.training_plan import SEARCH, Algorithm, BaseAlgorithm
from mlops_assets.lib.training.onnx_model import OPSET, PARITY, convert, predictor
from mlops_assets.lib.training.train import Trained, train
from tests.lib.helpers import EVERY, QUICK, signal, train_every


@pytest.fixture(scope="module")
def every() -> dict[Algorithm, Trained]:
    return train_every(*signal(200))


@pytest.mark.parametrize("algorithm", list(SEARCH))
def test_onnx_answers_as_scikit_learn_does(
    every: dict[Algorithm, Trained], algorithm: Algorithm, tmp_path: Path
) -> None:
    estimator, (features, _) = every[algorithm].estimator, signal(200)
    converted = convert(estimator, features.shape[1])
    assert converted == convert(estimator, features.shape[1])
    (tmp_path / "model.onnx").write_bytes(converted)

    wide, _ = signal(1000, seed=9)
    wide[::50] *= np.float32(1e6)
    nothing = np.full((1, 4), np.nan, dtype=np.float32)
    # The training rows lie on the very thresholds of the trees.
    for rows in (features, wide, wide[:1], nothing):
        expected = estimator.predict_proba(rows)[:, 1]
        for model in (converted, tmp_path / "model.onnx"):
            found = predictor(model)(rows)
            assert (found.dtype, found.shape) == (np.dtype(np.float64), (len(rows),))
            assert np.abs(found - expected).max() <= PARITY
    assert np.ptp(predictor(converted)(wide)) > 0.1
    # A row alone is answered as in a batch.
    alone = np.concatenate([predictor(converted)(row[None, :]) for row in wide[:20]])
    np.testing.assert_allclose(alone, predictor(converted)(wide)[:20], rtol=0, atol=PARITY / 10)
    assert predictor(converted)(wide[:0]).shape == (0,)


@pytest.mark.parametrize("algorithm", get_args(BaseAlgorithm))
def test_feature_that_was_never_recorded_may_be_in_a_request(algorithm: Algorithm) -> None:
    asked, target = signal(120)
    features = np.where(np.arange(4) == 2, np.float32(np.nan), asked)
    estimator = train(algorithm, features, target, EVERY).estimator
    model = predictor(convert(estimator, 4))
    for rows in (features, asked):
        expected = estimator.predict_proba(rows)[:, 1]
        assert np.abs(model(rows) - expected).max() <= PARITY


@pytest.mark.parametrize("algorithm", get_args(BaseAlgorithm))
@pytest.mark.parametrize("base", [16.0, 1e7])
def test_onnx_tells_neighbouring_float32_values_apart(algorithm: Algorithm, base: float) -> None:
    # The middle of two neighbours is no float32: a threshold there must not round up to the higher.
    random = np.random.default_rng(0)
    level = random.integers(0, 8, size=(160, 4))
    start = np.float32(base)
    features = (start + np.spacing(start) * level).astype(np.float32)
    target = (level[:, 0] + random.normal(size=160) > 3.5).astype(np.float64)
    assert len(np.unique(features)) == 8
    estimator = train(algorithm, features, target, EVERY).estimator
    expected = estimator.predict_proba(features)[:, 1]
    assert np.ptp(expected) > 0.1
    assert np.abs(predictor(convert(estimator, 4))(features) - expected).max() <= PARITY


@pytest.mark.parametrize("algorithm", list(SEARCH))
def test_conversion_leaves_the_estimator_as_it_was(
    every: dict[Algorithm, Trained], algorithm: Algorithm
) -> None:
    estimator, (features, _) = every[algorithm].estimator, signal(200)
    before = estimator.predict_proba(features)
    convert(estimator, 4)
    np.testing.assert_array_equal(estimator.predict_proba(features), before)


def test_predictor_answers_again_and_again(every: dict[Algorithm, Trained]) -> None:
    converted = convert(every["xgboost"].estimator, 4)
    model, (features, _) = predictor(converted), signal(200)
    first = model(features)
    model(features[:3])
    np.testing.assert_array_equal(model(features), first)
    np.testing.assert_array_equal(model(features.astype(np.float64)), first)
    np.testing.assert_array_equal(predictor(converted)(features), first)


@pytest.mark.parametrize("algorithm", list(SEARCH))
def test_model_is_checked_onnx_of_the_promised_shape(
    every: dict[Algorithm, Trained], algorithm: Algorithm
) -> None:
    model = onnx.load_from_string(convert(every[algorithm].estimator, 4))
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["features"]
    assert [o.name for o in model.graph.output] == ["label", "probabilities"]
    (shape,) = (i.type.tensor_type.shape.dim for i in model.graph.input)
    assert shape[1].dim_value == 4
    # No operator of somebody's own, which the serving app could not run.
    assert {entry.domain for entry in model.opset_import} <= set(OPSET)


def test_model_of_one_feature_is_converted() -> None:
    features, target = signal(120)
    trained = train("logistic_regression", features[:, :1], target, QUICK)
    expected = trained.estimator.predict_proba(features[:, :1])[:, 1]
    found = predictor(convert(trained.estimator, 1))(features[:, :1])
    assert np.abs(found - expected).max() <= PARITY
