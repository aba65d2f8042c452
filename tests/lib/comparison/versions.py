"""Versions in a store, made by the real functions: training set, candidate, evaluation, bundle."""

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from mlops_assets.lib.bundles import bundle
from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.features.feature_sql import portable
from mlops_assets.lib.records import sealed
from mlops_assets.lib.spec.split import Split
from mlops_assets.lib.spec.training_plan import Algorithm, Training
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training_set.files import Source
from mlops_assets.stages import candidates, training_set
from tests.lib.helpers import TINY, TINY_CONTRACT, TINY_SQL, tiny_csv, validated

PLAN = Training.model_validate(
    {
        "outer_folds": 3,
        "inner_folds": 2,
        "trials": 1,
        "candidates": {"logistic_regression": {}, "xgboost": {"fixed": {"n_estimators": 20}}},
    }
)
RELATION = "read_parquet('/where/dbt/read.parquet')"


def spec(**gate: Any) -> UseCase:
    """The tiny use case."""
    return UseCase(
        name=TINY,
        title="T.",
        description="D.",
        owners=["team:t"],
        contract=TINY_CONTRACT,
        training=PLAN,
        gate={"comparison": gate},
    )


def batch(folder: Path, key: str, rows: int, seed: int) -> Source:
    """An accepted batch of tiny patients."""
    place = folder / key
    place.mkdir(parents=True)
    found = validated(TINY_CONTRACT, tiny_csv(rows, seed), place, key)
    assert found.found.quarantined == 0
    with duckdb.connect() as database:
        database.execute(f"create view valid as from '{place / 'valid.parquet'}'")
        query = TINY_SQL.format(relation="valid")
        database.execute(f"copy ({query}) to '{place / 'features.parquet'}'")
    return Source(key, place / "features.parquet", place / "valid.parquet")


@dataclass(frozen=True)
class Version:
    """A registered version."""

    digest: str
    path: str
    lineage: Mapping[str, Any]

    def entry(self, decision: str, time: str = "2026-01-01T00:00:00+00:00") -> dict[str, Any]:
        """A decision about it, as the ledger has it."""
        return {"decision": decision, "bundle": self.digest, "path": self.path, "time": time}

    def predictions(self, store: Storage) -> Path:
        """The scores of its candidate."""
        return store.local(f"{TINY}/candidates/{self.lineage['candidate']}/predictions.parquet")


def register(
    store: Storage,
    sources: list[Source],
    algorithm: Algorithm = "logistic_regression",
    contract: Contract = TINY_CONTRACT,
) -> Version:
    """Train a candidate on batches, and write its bundle."""
    described = spec()
    with tempfile.TemporaryDirectory() as scratch:
        made, local, out = (Path(scratch) / name for name in ("made", "candidate", "bundle"))
        made.mkdir()
        local.mkdir()
        origin = {"batches": [source.key for source in sources], "split": Split().model_dump()}
        _, source = training_set.make(sources, contract, Split(), made, origin)
        entry = candidates.make(
            algorithm, made, source, Split(), PLAN, described.decision, {}, local
        )
        store.publish(made, training_set.folder(TINY, source["digest"]))
        store.publish(local, candidates.folder(TINY, entry.record["digest"]))
        for record in (source, entry.record):
            sealed.seal(store, TINY, record)
        evaluation = f"evaluation-{entry.record['digest'][:12]}"
        judged = {"candidates": {algorithm: entry.record["digest"]}}
        store.write_json(f"{TINY}/evaluations/{evaluation}.json", judged)
        names = [column.name for column in contract.columns]
        lineage = {
            "training_set": source["digest"],
            "evaluation": evaluation,
            "candidate": entry.record["digest"],
            "algorithm": algorithm,
            "batches": [{"key": each.key} for each in sources],
        }
        parts = bundle.Parts(
            use_case=TINY,
            contract=contract,
            features_sql=portable(TINY_SQL.format(relation=RELATION), RELATION, names),
            features=source["features"],
            threshold=0.5,
            training_set=made,
            candidate=local,
            lineage=lineage,
            provenance={},
        )
        digest = bundle.digest(bundle.write(parts, out))
        path = f"{TINY}/bundles/{digest}"
        store.publish(out, path)
    return Version(digest, path, lineage)
