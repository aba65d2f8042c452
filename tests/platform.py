"""The real platform on a folder of its own: storage, dbt, MLflow on SQLite, ephemeral Dagster."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.defs import recovery, resources
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.rollout import Rollout
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources import LocalTarget, MlflowTracking, StorageRoot
from mlops_assets.resources.rollout_target import TargetError
from mlops_assets.use_case import TabularClassifier

DATA = Path(__file__).parents[1] / "mlops_assets" / "data"
HEART = "heart_disease"
MLFLOW_STORE = "MLFLOW_TRACKING_URI"


# Few folds and trials: what is tested is the way, not the model. The demo trains in earnest.
QUICK = {
    "outer_folds": 3,
    "inner_folds": 2,
    "trials": 2,
    "minimum_rows": 150,
    "minimum_positives": 40,
    "candidates": {
        "logistic_regression": {},
        "xgboost": {"fixed": {"n_estimators": 30}},
        "stacked_ensemble": {},
    },
}


def quick_spec() -> UseCase:
    """Heart disease with a training that takes seconds, and a rollout at once."""
    spec = load_spec(HEART).model_dump(mode="json", exclude_unset=True)
    return UseCase.model_validate(
        spec | {"training": QUICK, "rollout": spec["rollout"] | {"steps": []}}
    )


def impatient_spec() -> UseCase:
    """The same, with a rollout that does not wait long for an app that does not answer."""
    return quick_spec().model_copy(update={"rollout": Rollout(timeout_seconds=5.0)})


def quick_definitions(spec: UseCase | None = None) -> dg.Definitions:
    """The graph of a use case, heart disease without one, with the real resources."""
    described = (spec or quick_spec()).model_dump(mode="json", exclude_unset=True)
    component = TabularClassifier.model_validate(described)
    graph = component.build_defs(dg.ComponentTree.for_test().load_context)
    return dg.Definitions.merge(graph, resources.resources(), recovery.recovery())


def tracking(folder: Path) -> MlflowTracking:
    """MLflow on a file of a folder."""
    return MlflowTracking(
        tracking_uri=f"sqlite:///{folder / 'mlflow.db'}",
        ui="http://127.0.0.1:1",
        dagster_ui="http://127.0.0.1:2",
    )


@cache
def new_store() -> bytes:
    """The file of a store in which nothing is: some hundred migrations make it, in a second."""
    with tempfile.TemporaryDirectory() as folder:
        tracking(Path(folder)).client()
        return (Path(folder) / "mlflow.db").read_bytes()


def answers(target: LocalTarget) -> bool:
    """Whether the serving app answers by now."""
    try:
        target.model(HEART)
    except TargetError:
        return False
    return True


class Platform:
    """One use case on a folder of its own."""

    def __init__(
        self,
        home: Path,
        instance: dg.DagsterInstance,
        definitions: dg.Definitions,
        url: str,
        root: str | None = None,
        spec: UseCase | None = None,
    ) -> None:
        root = root or str(home / "storage")
        self.home = home
        self.instance = instance
        self.spec = spec or quick_spec()
        self.store = Storage(root)
        self.batches = Batches(self.store, self.spec.name)
        self.ledger = Ledger(self.store, self.spec.name)
        self.mlflow = tracking(home / "mlflow")
        self.target = LocalTarget(url=url, environment="dev")
        self.resources = {
            "storage": StorageRoot(root=root),
            "mlflow": self.mlflow,
            "target": self.target,
        }
        self.cursors: dict[str, str | None] = {}
        self.definitions = dg.Definitions(
            assets=definitions.assets,
            jobs=definitions.jobs,
            schedules=definitions.schedules,
            sensors=definitions.sensors,
            executor=definitions.executor,
            resources={**(definitions.resources or {}), **self.resources},
        )

    def land(self, content: Path | str | bytes, name: str | None = None) -> str:
        """Land a file and give the key of its batch."""
        if isinstance(content, Path):
            self.batches.land(content, name)
        else:
            file = self.home / "incoming" / (name or "batch.csv")
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(content if isinstance(content, bytes) else content.encode())
            self.batches.land(file)
        before = set(self.batches.keys())
        self.batches.look(time.time() + 10)
        new = set(self.batches.keys()) - before
        key = new.pop() if new else self.batches.receipts()[-1].key
        self.instance.add_dynamic_partitions(f"{self.spec.name}_batches", [key])
        return key

    def run(self, verb: str, **options: Any) -> dg.ExecuteInProcessResult:
        """Run a job of the use case: ingest, retrain or deploy."""
        store = self.home / "mlflow" / "mlflow.db"
        if verb == "retrain" and not store.exists():
            store.parent.mkdir(exist_ok=True)
            store.write_bytes(new_store())
        job = self.definitions.resolve_job_def(f"{self.spec.name}_{verb}")
        return job.execute_in_process(instance=self.instance, raise_on_error=False, **options)

    def ingest(self, key: str) -> dg.ExecuteInProcessResult:
        return self.run("ingest", partition_key=key)

    def materialize(self, *path: str, **options: Any) -> dg.ExecuteInProcessResult:
        """Materialise an asset, and what its step makes beside it, as the button does."""
        job = self.definitions.resolve_implicit_global_asset_job_def()
        node = self.definitions.resolve_asset_graph().get(dg.AssetKey([self.spec.name, *path]))
        return job.execute_in_process(
            instance=self.instance,
            raise_on_error=False,
            asset_selection=sorted(node.execution_set_asset_keys),
            **options,
        )

    def tick(self, sensor: str) -> dg.SensorResult:
        """Evaluate a sensor once and add the partitions that it asks for."""
        definition = self.definitions.resolve_sensor_def(f"{self.spec.name}_{sensor}")
        with dg.build_sensor_context(
            instance=self.instance,
            definitions=self.definitions,
            resources=self.resources,
            cursor=self.cursors.get(sensor),
        ) as context:
            result = definition(context)
            assert isinstance(result, dg.SensorResult)
            # As the daemon does: an empty cursor in a result is none.
            self.cursors[sensor] = result.cursor or context.cursor
        for request in result.dynamic_partitions_requests or []:
            self.instance.add_dynamic_partitions(
                request.partitions_def_name, list(request.partition_keys)
            )
        return result


@contextmanager
def serving(made: Platform) -> Iterator[None]:
    """The real serving app of a platform, at the platform's target."""
    command = [sys.executable, "-m", "serving", "--use-case", made.spec.name]
    command += ["--port", made.target.url.rsplit(":", 1)[1]]
    command += ["--storage-root", made.store.root, "--environment", "dev"]
    command += ["--log-spool", str(made.home / "spool")]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    try:
        while not answers(made.target):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        assert process.wait(15) == 0


def checks(result: dg.ExecuteInProcessResult) -> dict[str, tuple[bool, str]]:
    """By ``asset/check``: whether it passed, and what it said."""
    return {
        f"{e.asset_key.path[-1]}/{e.check_name}": (e.passed, e.description or "")
        for e in result.get_asset_check_evaluations()
    }


@contextmanager
def platform(
    home: Path,
    url: str = "http://127.0.0.1:9",
    root: str | None = None,
    spec: UseCase | None = None,
) -> Iterator[Platform]:
    """A platform on a new instance.

    Args:
        home: An empty folder.
        url: Of the serving app; nothing listens at the default.
        root: The storage root, if it is not a folder there.
        spec: The use case; heart disease without one.
    """
    with dg.DagsterInstance.ephemeral() as instance:
        yield Platform(home, instance, quick_definitions(spec), url, root, spec)


def environment(home: Path) -> dict[str, str]:
    """The environment of a process that works on a folder.

    MLflow writes the store of whichever test came before into this process's environment.
    """
    clean = {name: value for name, value in os.environ.items() if name != MLFLOW_STORE}
    return {**clean, "MLOPS_HOME": str(home)}
