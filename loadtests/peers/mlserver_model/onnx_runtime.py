"""MLServer running ONNX Runtime, in the peer's own environment: the inference runtime that MLServer is given."""

import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse


class OnnxModel(MLModel):
    """A session with one thread that does not spin, the settings that Signalbox serves with."""

    async def load(self) -> bool:
        """Makes the session from the file that the model's settings name."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        path = self.settings.parameters.uri
        self.session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name
        self.output = self.session.get_outputs()[0].name
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Scores the rows of a request."""
        rows = NumpyCodec.decode_input(payload.inputs[0])
        (scores,) = self.session.run([self.output], {self.input: rows})
        outputs = [NumpyCodec.encode_output(self.output, scores)]
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=outputs)
