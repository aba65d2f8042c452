"""Makes real small bundles: an ONNX logistic regression, feature SQL and golden rows.

The expected features and probabilities are computed here in plain Python, apart from the code under
test, so that the golden rows are evidence and not an echo.
"""

import base64
import functools
import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import onnx
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

USE_CASE = "heart_disease"

CONTRACT: dict[str, Any] = {
    "version": 1,
    "use_case": USE_CASE,
    "columns": [
        {"name": "age", "type": "integer", "unit": "years", "description": "Age.",
         "nullable": False, "minimum": 18.0, "maximum": 110.0, "allowed": None,
         "missing_values": [], "example": 63},
        {"name": "cp", "type": "category", "unit": None, "description": "Chest pain.",
         "nullable": False, "minimum": None, "maximum": None, "allowed": [0, 1, 2, 3],
         "missing_values": [], "example": 3},
        {"name": "chol", "type": "integer", "unit": "mg/dl", "description": "Cholesterol.",
         "nullable": True, "minimum": 60.0, "maximum": 700.0, "allowed": None,
         "missing_values": [0], "example": 233},
        {"name": "oldpeak", "type": "number", "unit": "mm", "description": "ST depression.",
         "nullable": False, "minimum": None, "maximum": None, "allowed": None,
         "missing_values": [], "example": 2.3},
        {"name": "smoker", "type": "boolean", "unit": None, "description": "Smokes.",
         "nullable": True, "minimum": None, "maximum": None, "allowed": None,
         "missing_values": [], "example": True},
        {"name": "region", "type": "category", "unit": None, "description": "Region.",
         "nullable": True, "minimum": None, "maximum": None, "allowed": ["north", "south"],
         "missing_values": ["?"], "example": "south"},
        {"name": "note", "type": "text", "unit": None, "description": "Remark.",
         "nullable": True, "minimum": None, "maximum": None, "allowed": None,
         "missing_values": [], "example": "it's fine"},
        {"name": "seen", "type": "timestamp", "unit": None, "description": "First visit.",
         "nullable": True, "minimum": None, "maximum": None, "allowed": None,
         "missing_values": [], "example": "2024-02-29T12:00:00+02:00"},
    ],
}  # fmt: skip

SQL = """-- One row in, one row out.
select
    row_id,
    age::float as age,
    (cp = 3)::float as cp_3,
    chol::float as chol,
    (chol is null)::float as chol_unrecorded,
    oldpeak,
    coalesce(smoker, false) as smoker,
    case when region = 'south' then 1 else 0 end as south,
    length(note) as note_length,
    date_part('hour', seen) as hour_seen
from input_rows  -- the end
"""

FEATURES = [
    "age", "cp_3", "chol", "chol_unrecorded", "oldpeak", "smoker", "south", "note_length",
    "hour_seen",
]  # fmt: skip

PAYLOAD: dict[str, Any] = {column["name"]: column["example"] for column in CONTRACT["columns"]}

ROWS: list[dict[str, Any]] = [
    PAYLOAD,
    {**PAYLOAD, "age": 18, "chol": 0, "cp": 0, "smoker": None},
    {**PAYLOAD, "age": 110.0, "oldpeak": -1e30, "region": "?", "note": None, "seen": None},
    {"age": 50, "cp": 1, "oldpeak": 0.1},
    {**PAYLOAD, "note": "naïve ☃ ' \" \\ \n", "seen": "1999-12-31T23:59:59.999999Z"},
]

_SCALE = [50.0, 1.0, 250.0, 1.0, 2.0, 1.0, 1.0, 10.0, 12.0]


@dataclass(frozen=True)
class Built:
    """A bundle on disk and what it answers."""

    root: Path
    version: str
    path: str
    digest: str
    weights: list[float]

    @property
    def folder(self) -> Path:
        return self.root / self.path

    @property
    def role(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "bundle": self.path,
            "digest": self.digest,
            "percent": 100,
        }

    def probability(self, row: Mapping[str, Any]) -> float:
        return probability(self.weights, expected_features(row))


def expected_features(row: Mapping[str, Any]) -> list[float | None]:
    """The features of `SQL`, worked out in Python."""
    chol = row.get("chol") or None
    note, seen = row.get("note"), row.get("seen")
    hours = {
        "2024-02-29T12:00:00+02:00": 10.0,
        "1999-12-31T23:59:59.999999Z": 23.0,
    }
    return [
        float(row["age"]),
        float(row["cp"] == 3),
        None if chol is None else float(chol),
        float(chol is None),
        float(row["oldpeak"]),
        float(bool(row.get("smoker"))),
        float(row.get("region") == "south"),
        None if note is None else float(len(note)),
        None if seen is None else hours[seen],
    ]


def probability(weights: list[float], features: list[float | None]) -> float:
    """A logistic regression that reads a missing value as 0."""
    scaled = (w * (x or 0.0) / s for w, x, s in zip(weights, features, _SCALE, strict=True))
    z = max(-50.0, min(50.0, sum(scaled)))
    return 1.0 / (1.0 + math.exp(-z))


def onnx_model(weights: list[float]) -> onnx.ModelProto:
    """The same regression as ONNX, with the outputs a converted scikit-learn model has."""
    width = len(weights)
    scaled = np.array(weights) / np.array(_SCALE[:width])
    constants = {
        "weights": scaled.astype(np.float32).reshape(width, 1),
        "zero": np.zeros(1, np.float32),
        "half": np.full(1, 0.5, np.float32),
        "one": np.ones(1, np.float32),
        "low": np.array(-50, np.float32),
        "high": np.array(50, np.float32),
        "flat": np.array([-1], np.int64),
    }
    nodes = [
        helper.make_node("IsNaN", ["features"], ["missing"]),
        helper.make_node("Where", ["missing", "zero", "features"], ["filled"]),
        helper.make_node("MatMul", ["filled", "weights"], ["free"]),
        helper.make_node("Clip", ["free", "low", "high"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["positive"]),
        helper.make_node("Sub", ["one", "positive"], ["negative"]),
        helper.make_node("Concat", ["negative", "positive"], ["probabilities"], axis=1),
        helper.make_node("Greater", ["positive", "half"], ["above"]),
        helper.make_node("Cast", ["above"], ["codes"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["codes", "flat"], ["label"]),
    ]
    graph = helper.make_graph(
        nodes,
        "classifier",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, width])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def make_bundle(
    root: Path,
    seed: int = 1,
    *,
    contract: dict[str, Any] = CONTRACT,
    sql: str = SQL,
    change_golden: Callable[[list[dict[str, Any]]], None] = lambda golden: None,
    change_manifest: Callable[[dict[str, Any]], None] = lambda manifest: None,
    change_folder: Callable[[Path], None] = lambda folder: None,
) -> Built:
    """Write a bundle as training would; the hooks break it in one place each.

    Args:
        root: The storage root.
        seed: Gives the weights and the version.
        contract: The content of contract.json.
        sql: The content of features.sql.
        change_golden: Changes the golden rows before they are written.
        change_manifest: Changes the manifest before its digest is taken.
        change_folder: Changes the files before their digests are taken.
    """
    weights = np.random.default_rng(seed).normal(size=len(FEATURES)).round(3).tolist()
    staging = root / f"staging-{seed}-{os.urandom(4).hex()}"
    staging.mkdir(parents=True)
    (staging / "model.onnx").write_bytes(onnx_model(weights).SerializeToString())
    (staging / "features.sql").write_text(sql, encoding="utf-8")
    (staging / "contract.json").write_text(json.dumps(contract), encoding="utf-8")
    usual = [expected_features({**row, "age": age}) for row in ROWS for age in (30, 45, 60, 75)]
    (staging / "reference.json").write_text(json.dumps({"rows": 100, "background": usual}))
    golden = [
        {
            "row_id": f"golden-{number}",
            **{name: row.get(name) for name in PAYLOAD},
            **{f"feature__{n}": v for n, v in zip(FEATURES, expected_features(row), strict=True)},
            "expected_probability": probability(weights, expected_features(row)),
        }
        for number, row in enumerate(ROWS)
    ]
    change_golden(golden)
    write_golden(staging / "golden.parquet", golden)
    change_folder(staging)
    manifest: dict[str, Any] = {
        "schema_version": 1,
        "use_case": contract["use_case"],
        "features": FEATURES,
        "threshold": 0.5,
        "classes": {
            "negative": {"value": 0, "label": "no disease"},
            "positive": {"value": 1, "label": "disease"},
        },
        "files": {
            path.name: {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "bytes": path.stat().st_size,
            }
            for path in sorted(staging.iterdir())
        },
        "lineage": {"training_set": "a" * 64, "algorithm": "logistic_regression", "batches": []},
        "provenance": {"created_at": "2026-01-01T00:00:00+00:00"},
    }
    change_manifest(manifest)
    digest = digest_of(manifest)
    (staging / "manifest.json").write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    path = f"{USE_CASE}/bundles/{digest}"
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    staging.rename(root / path)
    return Built(root, str(seed), path, digest, weights)


def digest_of(manifest: dict[str, Any]) -> str:
    """The bundle digest as the format defines it, written a second time on purpose."""
    content = {key: value for key, value in manifest.items() if key != "provenance"}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def write_golden(path: Path, golden: list[dict[str, Any]]) -> None:
    """Write golden rows with the types the format asks for."""
    types = {
        "row_id": "VARCHAR", "age": "BIGINT", "cp": "BIGINT", "chol": "BIGINT",
        "oldpeak": "DOUBLE", "smoker": "BOOLEAN", "region": "VARCHAR", "note": "VARCHAR",
        "seen": "TIMESTAMP", **{f"feature__{name}": "FLOAT" for name in FEATURES},
        "expected_probability": "DOUBLE",
    }  # fmt: skip
    connection = _connection()
    columns = ", ".join(f'"{name}" {kind}' for name, kind in types.items())
    connection.execute(f"CREATE OR REPLACE TABLE golden ({columns})")
    # A TIMESTAMP column holds UTC; the text of a row may carry an offset.
    places = ["?::TIMESTAMPTZ::TIMESTAMP" if name == "seen" else "?" for name in types]
    for row in golden:
        values = [row.get(name) for name in types]
        connection.execute(f"INSERT INTO golden VALUES ({', '.join(places)})", values)
    quoted = str(path).replace("'", "''")
    connection.execute(f"COPY golden TO '{quoted}' (FORMAT parquet)")


@functools.cache
def _connection() -> duckdb.DuckDBPyConnection:
    connection = duckdb.connect(":memory:", config={"threads": 1})
    connection.execute("SET TimeZone = 'UTC'")
    return connection


def desire(root: Path, built: Built | None, environment: str = "dev", **changes: Any) -> Path:
    """Write the desired state in one step, as a rollout does."""
    state = {
        "schema_version": 1,
        "use_case": USE_CASE,
        "environment": environment,
        "updated_at": "2026-01-01T00:00:00+00:00",
        "roles": {} if built is None else {"champion": built.role},
        **changes,
    }
    return write_state(root, json.dumps(state), environment)


def write_state(root: Path, text: str, environment: str = "dev") -> Path:
    """Write any text as the desired state, in one step."""
    path = root / USE_CASE / "desired" / f"{environment}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)
    return path


def sign(folder: Path, digest: str, key: Ed25519PrivateKey) -> None:
    """Sign a bundle as the format defines it, written a second time on purpose."""
    public = key.public_key().public_bytes_raw()
    value = key.sign(b"mlops-bundle-v1\n" + bytes.fromhex(digest))
    record = {
        "algorithm": "ed25519",
        "key": hashlib.sha256(public).hexdigest()[:16],
        "signature": base64.b64encode(value).decode(),
    }
    (folder / "manifest.sig").write_text(json.dumps(record))
