"""MLServer has no runtime for ONNX; this is the one that its documentation shows how to write."""

from pathlib import Path

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    async def load(self) -> bool:
        path = Path(self.settings.parameters.uri)
        self.session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        self.given = self.session.get_inputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        rows = NumpyCodec.decode_input(payload.inputs[0])
        (found,) = self.session.run(["probabilities"], {self.given: rows.astype("float32")})
        output = NumpyCodec.encode_output("probabilities", found)
        return InferenceResponse(model_name=self.name, outputs=[output])
