"""Installs and starts the peers, each as its documentation says, with adaptive batching where it
has one. They are sent finished features, so that they have less to do than the serving app.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Final

from mlops_assets.lib.bundles.sandbox import free_port
from tests.benchmarks.serving.environments import environment, python_of, versions
from tests.benchmarks.serving.model import Model
from tests.benchmarks.serving.servers import Running, running

HERE: Final = Path(__file__).parent
FORMS: Final = ("scikit-learn", "onnx")
# Rows in a batch at most, and how long the first of them waits for others, as its examples have it.
MLSERVER_BATCH: Final = {"max_batch_size": 32, "max_batch_time": 0.005}


@dataclass(frozen=True)
class Peer:
    """Another server.

    Attributes:
        name: For the table.
        packages: What is installed, besides the model's own libraries.
        target: How many times as many requests a second ours should answer.
        start: Starts it with a model in one of the forms.
    """

    name: str
    packages: tuple[str, ...]
    target: float
    start: Callable[["Peer", Path, Model, str], Iterator[Running]]

    @contextmanager
    def serving(self, model: Model, form: str) -> Iterator[Running]:
        """Install it if need be, and serve a model."""
        libraries = [f"{name}=={version(name)}" for name in ("scikit-learn", "onnxruntime", "onnx")]
        made = environment(self.name.split()[0].lower(), [*self.packages, *libraries])
        print(f"{self.name}: {versions(made, (*self.packages, 'scikit-learn', 'onnxruntime'))}")
        yield from self.start(self, made, model, form)


def _bentoml(peer: Peer, made: Path, model: Model, form: str) -> Iterator[Running]:
    bodies = [json.dumps({"rows": [row]}).encode() for row in model.features]
    command = [str(made / "bin" / "bentoml"), "serve", "bentoml_service:Heart"]
    with running(
        f"{peer.name}, {form}",
        [*command, "--host", "127.0.0.1", "--port", "{port}"],
        path="/predict",
        bodies=bodies,
        ready="/readyz",
        cwd=HERE,
        environ={
            "MODEL_FOLDER": str(model.folder),
            "MODEL_FORM": form,
            "BENTOML_DO_NOT_TRACK": "True",
            "BENTOML_HOME": str(model.folder / "bentoml"),
            "PYTHONPATH": "",
        },
    ) as server:
        yield server


def _mlserver(peer: Peer, made: Path, model: Model, form: str) -> Iterator[Running]:
    onnx = form == "onnx"
    folder = model.folder / f"mlserver-{form}"
    folder.mkdir()
    port = free_port()
    settings = {
        "host": "127.0.0.1",
        "http_port": port,
        "grpc_port": free_port(),
        "metrics_port": free_port(),
        "debug": False,
        # Without worker processes: for so small a model these only cost.
        "parallel_workers": 0,
    }
    (folder / "settings.json").write_text(json.dumps(settings))
    uri = model.folder / ("model.onnx" if onnx else "model.joblib")
    described = {
        "name": "heart",
        "implementation": "mlserver_onnx.OnnxModel" if onnx else "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(uri)},
        **MLSERVER_BATCH,
    }
    (folder / "model-settings.json").write_text(json.dumps(described))
    width = len(model.names)
    tensor = {"name": "rows", "shape": [1, width], "datatype": "FP32"}
    bodies = [
        json.dumps(
            {
                "inputs": [{**tensor, "data": row}],
                **({} if onnx else {"outputs": [{"name": "predict_proba"}]}),
            }
        ).encode()
        for row in model.features
    ]
    with running(
        f"{peer.name}, {form}",
        [str(made / "bin" / "mlserver"), "start", str(folder)],
        path="/v2/models/heart/infer",
        bodies=bodies,
        ready="/v2/models/heart/ready",
        port=port,
        environ={"PYTHONPATH": str(HERE)},
    ) as server:
        yield server


def _mlflow(peer: Peer, made: Path, model: Model, form: str) -> Iterator[Running]:
    saved = model.folder / f"mlflow-{form}"
    save = [python_of(made), str(HERE / "mlflow_save.py"), str(model.folder), form]
    subprocess.run(save, check=True, capture_output=True)
    command = [str(made / "bin" / "mlflow"), "models", "serve", "--model-uri", str(saved)]
    # The quickest of its inputs: a list, which becomes an array and no data frame.
    bodies = [json.dumps({"inputs": [row]}).encode() for row in model.features]
    with running(
        f"{peer.name}, {form}",
        [*command, "--env-manager", "local", "--host", "127.0.0.1", "--port", "{port}"],
        path="/invocations",
        bodies=bodies,
        ready="/ping",
        # It starts `uvicorn` by its name.
        environ={"PYTHONPATH": "", "PATH": f"{made / 'bin'}:/usr/bin:/bin"},
    ) as server:
        yield server


PEERS: Final = (
    Peer("mlflow models serve", ("mlflow",), 15, _mlflow),
    Peer("BentoML", ("bentoml",), 4, _bentoml),
    Peer("MLServer", ("mlserver", "mlserver-sklearn"), 3, _mlserver),
)
