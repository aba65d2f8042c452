from pathlib import Path

import numpy as np
import onnx
import pytest

from mlops_assets.lib.algorithms import ALGORITHMS
from mlops_assets.lib.onnx_model import OPSET, PARITY, convert, predict
from mlops_assets.lib.spec import Algorithm, Candidate
from mlops_assets.lib.training import train
from tests.lib.helpers import QUICK, signal


@pytest.mark.parametrize("algorithm", list(ALGORITHMS))
def test_onnx_answers_as_scikit_learn_does(algorithm: Algorithm, tmp_path: Path) -> None:
    features, target = signal(200)
    fixed = {"n_estimators": 40, "max_depth": 4} if algorithm == "xgboost" else {}
    trained = train(algorithm, Candidate.model_validate({"fixed": fixed}), features, target, QUICK)
    converted = convert(trained.estimator, features.shape[1])
    assert converted == convert(trained.estimator, features.shape[1])
    (tmp_path / "model.onnx").write_bytes(converted)

    wide, _ = signal(1000, seed=9)
    wide[::50] *= np.float32(1e6)
    nothing = np.full((1, 4), np.nan, dtype=np.float32)
    # The training rows lie on the very thresholds of the trees.
    for rows in (features, wide, wide[:1], nothing):
        expected = trained.estimator.predict_proba(rows)[:, 1]
        for model in (converted, tmp_path / "model.onnx"):
            found = predict(model, rows)
            assert (found.dtype, found.shape) == (np.dtype(np.float64), (len(rows),))
            assert np.abs(found - expected).max() <= PARITY
    assert np.ptp(predict(converted, wide)) > 0.1
    # A row alone is answered as in a batch.
    alone = np.concatenate([predict(converted, row[None, :]) for row in wide[:20]])
    np.testing.assert_allclose(alone, predict(converted, wide)[:20], rtol=0, atol=PARITY / 10)
    assert predict(converted, wide[:0]).shape == (0,)


def test_model_is_checked_onnx_of_the_promised_shape() -> None:
    features, target = signal(60)
    trained = train("logistic_regression", Candidate(), features, target, QUICK)
    model = onnx.load_from_string(convert(trained.estimator, 4))
    onnx.checker.check_model(model, full_check=True)
    assert [i.name for i in model.graph.input] == ["features"]
    assert [o.name for o in model.graph.output] == ["label", "probabilities"]
    (shape,) = (i.type.tensor_type.shape.dim for i in model.graph.input)
    assert shape[1].dim_value == 4
    # No operator of somebody's own, which the serving app could not run.
    assert {entry.domain for entry in model.opset_import} <= set(OPSET)
