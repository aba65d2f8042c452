"""ONNX: the one form in which a model leaves training.

No pickle is written or read anywhere. The conversion is judged by its answers: ONNX Runtime must
give the probabilities that scikit-learn gave, on every row.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from sklearn.base import BaseEstimator

    Features = NDArray[np.float32]
    Floats = NDArray[np.float64]

PARITY = 1e-5
OPSET = {"": 17, "ai.onnx.ml": 3}


def convert(estimator: BaseEstimator, features: int) -> bytes:
    """Convert a fitted calibrated pipeline to ONNX.

    Args:
        estimator: Takes float32 ``[n, features]``.
        features: Number of features.

    Returns:
        A serialised model: input ``features`` float32 ``[n, features]``, outputs ``label`` and
        ``probabilities`` float32 ``[n, 2]``.
    """
    from onnxmltools.convert.xgboost.operator_converters.XGBoost import convert_xgboost
    from skl2onnx import convert_sklearn, update_registered_converter
    from skl2onnx.common.data_types import FloatTensorType
    from skl2onnx.common.shape_calculator import calculate_linear_classifier_output_shapes
    from xgboost import XGBClassifier

    from mlops_assets.lib.training.boosting import as_plain

    update_registered_converter(
        XGBClassifier,
        "XGBoostXGBClassifier",
        calculate_linear_classifier_output_shapes,
        convert_xgboost,
        options={"nocl": [True, False], "zipmap": [True, False, "columns"]},
    )
    estimator = copy.deepcopy(estimator)
    as_plain(estimator)
    estimator = _preprocessing_first(estimator)
    with warnings.catch_warnings():
        # skl2onnx writes booleans into a field of integers; protobuf takes them until 7.34.
        warnings.filterwarnings("ignore", "Field onnx", DeprecationWarning)
        model = convert_sklearn(
            estimator,
            name="classifier",
            initial_types=[("features", FloatTensorType([None, features]))],
            options={id(estimator): {"zipmap": False}},
            target_opset=OPSET,
        )
    # They come from a set: in the order of a hash that is another one in every process.
    domains = sorted(model.opset_import, key=lambda opset: str(opset.domain))
    del model.opset_import[:]
    model.opset_import.extend(domains)
    serialised: bytes = model.SerializeToString(deterministic=True)
    return serialised


def _preprocessing_first(calibrated: BaseEstimator) -> BaseEstimator:
    """Move the steps in front of a calibrated pipeline's classifier in front of the calibrator.

    The converter feeds probabilities to a calibrator that was fitted on a pipeline's decision
    function (answers were 0.5 apart); around a bare classifier it does the right thing. Once
    everything is fitted, both arrangements compute the same.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import Pipeline, make_pipeline

    if not isinstance(calibrated, CalibratedClassifierCV):
        return calibrated
    (member,) = calibrated.calibrated_classifiers_
    if not isinstance(member.estimator, Pipeline):
        return calibrated
    *steps, classifier = (step for _, step in member.estimator.steps)
    member.estimator = classifier
    return make_pipeline(*steps, calibrated)


def predictor(model: Path | bytes) -> Callable[[Features], Floats]:
    """What answers as the serving app's model does.

    Args:
        model: An ONNX file or its bytes.

    Returns:
        A function of float32 ``[n, f]``, with NaN for a missing value, to the probability of the
        positive class, float64 ``[n]``.
    """
    import numpy as np
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        str(model) if isinstance(model, Path) else model,
        options,
        providers=["CPUExecutionProvider"],
    )
    (name,) = (entry.name for entry in session.get_inputs())

    def probabilities(features: Features) -> Floats:
        if not len(features):  # converted models refuse a batch of nothing
            return np.empty(0)
        (both,) = session.run(["probabilities"], {name: features.astype(np.float32)})
        return np.asarray(both[:, 1], dtype=np.float64)

    return probabilities
