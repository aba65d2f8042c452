"""Runs the ONNX model. ONNX is data, not code: loading a model cannot run anything else."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from serving.bundle.manifest import BundleError

_OUTPUT: Final = "probabilities"
_ERRORS_ONLY: Final = 3


class ModelError(BundleError):
    """A model that cannot be served. The message names what was expected and found."""


class Model:
    """A binary classifier; safe to call from several threads."""

    def __init__(self, path: Path, features: Sequence[str]) -> None:
        """Load the model and check its input and output.

        Args:
            path: The ONNX file.
            features: The features in the model's order.

        Raises:
            ModelError: The file is not a model that ONNX Runtime can run, or it does not take
                float32 `[n, features]`, or it does not give a tensor of probabilities.
        """
        options = onnxruntime.SessionOptions()
        # Rows arrive one or a few at a time on several threads: the threads are the parallelism.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        # Its warnings would be lines in standard error that are not JSON.
        options.log_severity_level = _ERRORS_ONLY
        try:
            # Its exceptions share no base class but Exception, here and below.
            session = onnxruntime.InferenceSession(
                str(path), options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:
            raise ModelError(f"{path}: cannot be loaded: {str(error)[:300]}") from error
        self._session = session
        self._input = _input_name(session, path, len(features))
        self._output = _output_name(session, path)

    def probabilities(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the probability of the positive class.

        Args:
            features: float32 `[n, features]`, NaN where a value is missing.

        Returns:
            float64 `[n]`, each from 0 to 1.

        Raises:
            ModelError: The model gave something else.
        """
        try:
            (found,) = self._session.run([self._output], {self._input: features})
        except Exception as error:
            raise ModelError(f"model.onnx: cannot run: {str(error)[:300]}") from error
        if np.shape(found) != (len(features), 2):
            raise ModelError(
                f"model.onnx: output {self._output!r}: expected shape ({len(features)}, 2), "
                f"found {np.shape(found)}"
            )
        positive = np.asarray(found[:, 1], dtype=np.float64)
        if not ((positive >= 0) & (positive <= 1)).all():
            raise ModelError(f"model.onnx: expected probabilities from 0 to 1, found {positive}")
        return positive


def _input_name(session: onnxruntime.InferenceSession, path: Path, features: int) -> str:
    inputs = session.get_inputs()
    if len(inputs) != 1:
        raise ModelError(f"{path}: expected one input, found {[each.name for each in inputs]}")
    (only,) = inputs
    # A width that is not a number is a free dimension: the golden rows then decide.
    width = only.shape[1] if len(only.shape) == 2 else 0
    fits = width == features or not isinstance(width, int)
    if only.type != "tensor(float)" or not fits:
        raise ModelError(
            f"{path}: input {only.name!r}: expected tensor(float) [n, {features}], "
            f"found {only.type} {only.shape}"
        )
    return str(only.name)


def _output_name(session: onnxruntime.InferenceSession, path: Path) -> str:
    outputs = {each.name: each for each in session.get_outputs()}
    name = _OUTPUT if _OUTPUT in outputs else next(reversed(outputs))
    if outputs[name].type != "tensor(float)":
        raise ModelError(
            f"{path}: output {name!r}: expected tensor(float), found {outputs[name].type} "
            "(converted with zipmap?)"
        )
    return str(name)
