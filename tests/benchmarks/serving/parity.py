"""The API's probability against the training pipeline's, for every row of both use cases.

Each use case goes through its own graph, from the landed file to the registered version. What the
scikit-learn model answered then, for each row of the training set, is what the API must answer now,
from the row as a client has it.
"""

import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from mlops_assets.lib.records import current, desired_state
from mlops_assets.lib.spec.specs import load_spec
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.synthetic import ChurnOptions, write
from mlops_assets.lib.training_set.files import INPUTS
from mlops_assets.load import LoadTester, Payloads
from tests.benchmarks.serving.servers import ours
from tests.platform import DATA, HEART, QUICK, platform

LIMIT = 1e-5
CUSTOMERS = 10_000
CONNECTIONS = 16


def parity() -> None:
    """Print a line a use case and algorithm."""
    with tempfile.TemporaryDirectory() as scratch:
        churn = Path(scratch) / "churn.csv"
        write(ChurnOptions(rows=CUSTOMERS, seed=1), churn)
        for name, files in (
            (HEART, [DATA / "heart_cleveland.csv", DATA / "heart_hungarian.csv"]),
            ("churn", [churn]),
        ):
            for algorithm in ("logistic_regression", "xgboost"):
                with tempfile.TemporaryDirectory() as home:
                    _compare(_spec(name, algorithm), files, Path(home))


def _spec(name: str, algorithm: str) -> UseCase:
    """A use case with one quick candidate, which then is the winner."""
    spec = load_spec(name).model_dump(mode="json", exclude_unset=True)
    candidates = {algorithm: QUICK["candidates"][algorithm]}  # type: ignore[index]
    return UseCase.model_validate(spec | {"training": {**QUICK, "candidates": candidates}})


def _compare(spec: UseCase, files: list[Path], home: Path) -> None:
    with platform(home, spec=spec) as made:
        for file in files:
            assert made.ingest(made.land(file)).success
        made.run("retrain")  # whether the gate approves of so quick a training does not matter
        version = current.read(made.store, spec.name, "registered_version")
        assert version is not None, f"{spec.name}: no version was registered"
        role = {**version, "version": str(version["version"]), "percent": 100}
        desired_state.write(made.store, spec.name, "dev", {"champion": role})
        manifest = made.store.read_json(f"{role['bundle']}/manifest.json")
        assert manifest is not None
        lineage = manifest["lineage"]
        rows, scores = _training_side(made.store, spec, lineage)
    payloads = Payloads.of(rows, expected={role["digest"]: scores})
    with ours(home / "storage", payloads.bodies, use_case=spec.name) as server:
        report = LoadTester(server.url, payloads).closed(CONNECTIONS, requests=len(rows))
    assert report.failed == 0, report.errors
    print(
        f"{spec.name}, {lineage['algorithm']}: {report.requests:,} rows, largest difference of a "
        f"probability {report.largest_difference:.1e} (target: at most {LIMIT:g})",
        flush=True,
    )


def _training_side(
    store: Any, spec: UseCase, lineage: dict[str, Any]
) -> tuple[list[dict[str, Any]], list[float]]:
    """Every row as a client has it, and what the training pipeline answered."""
    folder = store.local(f"{spec.name}/training_sets/{lineage['training_set']}")
    candidate = store.local(f"{spec.name}/candidates/{lineage['candidate']}")
    predictions = pq.read_table(
        candidate / "predictions.parquet", columns=["row_id", "probability"]
    )
    by_row = dict(
        zip(*(predictions[name].to_pylist() for name in predictions.column_names), strict=True)
    )
    rows = pq.read_table(folder / INPUTS).to_pylist()
    scores = [by_row[row.pop("row_id")] for row in rows]
    return rows, scores
