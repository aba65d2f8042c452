"""A use case of small bundles that nothing was trained for: ledger, MLflow and storage are real."""

import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.rollout import Rollout as Rules
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.storage.root import Storage
from mlops_assets.load import LoadTester, Payloads, Report
from mlops_assets.resources import LocalTarget, MlflowTracking
from mlops_assets.rollout.rollout import Rollout
from tests.serving.bundles import CONTRACT, PAYLOAD, USE_CASE, Built, make_bundle
from tests.serving.models import not_a_number_at_99, slow
from tests.serving.server import Server

# One row in ten is of somebody who is 99: the version that fails does so for them only.
ROWS = [
    {**PAYLOAD, "age": 99 if n % 10 == 0 else 20 + n, "oldpeak": n / 10, "cp": n % 4}
    for n in range(60)
]
# Of a faulty version's scores, before the sigmoid; a good one's is small, but tells it apart.
SHIFT = -3.0


def _shift(folder: Path, by: float) -> None:
    path = folder / "model.onnx"
    model = onnx.load(path)
    for node in model.graph.node:
        if node.op_type == "Sigmoid":
            node.input[0] = "moved"
    clip = next(n for n, node in enumerate(model.graph.node) if node.op_type == "Clip")
    model.graph.node.insert(clip + 1, onnx.helper.make_node("Add", ["z", "more"], ["moved"]))
    model.graph.initializer.append(numpy_helper.from_array(np.array([by], np.float32), "more"))
    path.write_bytes(model.SerializeToString())


def _shifted(probability: float, by: float) -> float:
    if probability in (0.0, 1.0):
        return probability
    return 1 / (1 + math.exp(-math.log(probability / (1 - probability)) - by))


FAULTS: Mapping[str, Callable[[Path], None] | None] = {
    "none": None,
    "errors": not_a_number_at_99,
    "slow": slow,
    "scores": None,
}


class Small:
    """Versions, and a ledger that knows them."""

    def __init__(self, home: Path, rules: Mapping[str, Any], environment: str = "dev") -> None:
        columns = [dict(column) for column in CONTRACT["columns"]]
        usual = load_spec(USE_CASE)
        contract = Contract.model_validate(
            {"version": 1, "target": usual.contract.target, "columns": columns}
        )
        update = {"contract": contract, "rollout": Rules.model_validate(rules)}
        self.home = home
        self.spec = usual.model_copy(update=update)
        self.store = Storage(home / "storage")
        self.ledger = Ledger(self.store, USE_CASE)
        self.mlflow = MlflowTracking(
            tracking_uri=f"sqlite:///{home / 'mlflow.db'}", ui="http://127.0.0.1:1", dagster_ui=""
        )
        self.target = LocalTarget(url=f"http://127.0.0.1:{free_port()}", environment=environment)
        self.built: dict[str, Built] = {}
        self.expected: dict[str, Sequence[float]] = {}

    def version(self, number: int, fault: str = "none") -> dict[str, Any]:
        """Make and register a version; give what the ledger says of it."""

        # The same weights: versions that are not faulty answer alike, and differ by their digest.
        by = SHIFT if fault == "scores" else number / 100

        def change(folder: Path) -> None:
            _shift(folder, by)
            if (planted := FAULTS[fault]) is not None:
                planted(folder)

        def change_golden(golden: list[dict[str, Any]]) -> None:
            for row in golden:
                row["expected_probability"] = _shifted(row["expected_probability"], by)

        root = Path(self.store.root)
        built = make_bundle(root, 1, change_folder=change, change_golden=change_golden)
        # Its seed gave it the weights; the registry gives it the number.
        built = self.built[str(number)] = replace(built, version=str(number))
        self.expected[built.digest] = [_shifted(built.probability(row), by) for row in ROWS]
        client = self.mlflow.client()
        if not client.search_registered_models(f"name = '{USE_CASE}'"):
            client.create_registered_model(USE_CASE)
        artifacts = (self.home / "artifacts").as_uri()
        experiment = client.create_experiment(f"version {number}", artifact_location=artifacts)
        run = client.create_run(experiment).info.run_id
        made = client.create_model_version(USE_CASE, str(built.folder), run)
        assert str(made.version) == str(number)
        about = {"version": str(number), "bundle": built.digest, "path": built.path}
        return about | {"training_set": "t", "wanted": "w", "batches": [], "actor": "test"}

    def crowned(self) -> dict[str, Any]:
        """Version 1 is the champion, and desired."""
        about = self.version(1)
        self.ledger.append("approved", about)
        entry = self.ledger.append("promoted", about | {"decision_of": 1})
        role = {"version": "1", "bundle": about["path"], "digest": about["bundle"], "percent": 100}
        state = {"champion": role}
        desired_state.write(self.store, USE_CASE, self.target.environment, state, decision=2)
        self.mlflow.crown(USE_CASE, "1")
        return entry

    def rollout(self) -> Rollout:
        return Rollout(self.spec, self.store, self.ledger, self.mlflow, self.target)

    def roles(self) -> dict[str, Any]:
        """Version by role, as is desired."""
        found = desired_state.read(self.store, USE_CASE, self.target.environment)
        return {name: role["version"] for name, role in found.items()}

    @contextmanager
    def serving(self) -> Iterator[Server]:
        """The real app, at the target."""
        server = Server(Path(self.store.root), {"SERVING_ENVIRONMENT": self.target.environment})
        self.target = LocalTarget(
            url=f"http://127.0.0.1:{server.port}", environment=self.target.environment
        )
        server.wait_for(self.roles()["champion"])
        try:
            yield server
        finally:
            assert server.stop() == 0

    @contextmanager
    def loaded(self, rate: float, seconds: float, *versions: str) -> Iterator[Callable[[], Report]]:
        """Requests that come in all the time; the report waits for their end.

        Args:
            rate: Requests a second.
            seconds: How long.
            versions: That may answer; all without any.
        """
        digests = [self.built[each].digest for each in versions or self.built]
        payloads = Payloads.of(ROWS, expected={each: self.expected[each] for each in digests})
        tester = LoadTester(self.target.url, payloads, warm_up=0.5)
        found: list[Report] = []
        load = threading.Thread(target=lambda: found.append(tester.open(rate, seconds)))
        load.start()

        def report() -> Report:
            load.join()
            return found[0]

        try:
            yield report
        finally:
            load.join()
