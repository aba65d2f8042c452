"""BentoML: runs in an environment of its own, in a folder with the model."""

import os
from pathlib import Path

import bentoml
import numpy as np

FOLDER = Path(os.environ["MODEL_FOLDER"])


@bentoml.service(workers=1)
class Heart:
    def __init__(self) -> None:
        if os.environ["MODEL_FORM"] == "onnx":
            import onnxruntime

            session = onnxruntime.InferenceSession(
                FOLDER / "model.onnx", providers=["CPUExecutionProvider"]
            )
            given = session.get_inputs()[0].name
            self.run = lambda rows: session.run(["probabilities"], {given: rows})[0]
        else:
            import joblib

            self.run = joblib.load(FOLDER / "model.joblib").predict_proba

    @bentoml.api(batchable=True, max_batch_size=64, max_latency_ms=1000)
    def predict(self, rows: np.ndarray) -> np.ndarray:
        return self.run(np.asarray(rows, dtype=np.float32))
