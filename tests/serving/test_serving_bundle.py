import copy
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from serving.bundle.contract import read_contract
from serving.bundle.loaded import Bundle
from serving.bundle.manifest import BundleError
from tests.serving.bundles import (
    CONTRACT,
    FEATURES,
    ROWS,
    SQL,
    USE_CASE,
    Built,
    make_bundle,
    onnx_model,
)
from tests.serving.server import ROOT


def test_predicts_what_training_computed(bundle: Bundle, built: Built) -> None:
    rows = [bundle.contract.validate_row(row) for row in ROWS]
    together = bundle.predict(rows)
    assert together.dtype == np.float64
    assert together.tolist() == pytest.approx([built.probability(row) for row in ROWS], abs=1e-6)
    apart = [bundle.predict([row])[0] for row in rows]
    assert together.tolist() == pytest.approx(apart, abs=1e-7)
    assert bundle.golden_rows == len(ROWS)


def test_threshold_itself_is_positive(bundle: Bundle) -> None:
    assert bundle.classify(0.5).value == 1
    assert bundle.classify(math.nextafter(0.5, 0)).label == "no disease"


def feature(name: str, value: float | None) -> Callable[[list[dict[str, Any]]], None]:
    return lambda golden: golden[1].update({f"feature__{name}": value})


def golden(name: str, value: Any) -> Callable[[list[dict[str, Any]]], None]:
    return lambda rows: rows[2].update({name: value})


def model(change: Callable[[onnx.ModelProto], None]) -> Callable[[Path], None]:
    def do(folder: Path) -> None:
        proto = onnx.load(folder / "model.onnx")
        change(proto)
        (folder / "model.onnx").write_bytes(proto.SerializeToString())

    return do


def as_map(proto: onnx.ModelProto) -> None:
    """The output that skl2onnx gives when zipmap is left on."""
    node = helper.make_node(
        "ZipMap", ["probabilities"], ["map"], domain="ai.onnx.ml", classlabels_int64s=[0, 1]
    )
    kind = helper.make_sequence_type_proto(
        helper.make_map_type_proto(
            onnx.TensorProto.INT64, helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
        )
    )
    proto.graph.node.append(node)
    proto.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))
    del proto.graph.output[:]
    proto.graph.output.append(helper.make_value_info("map", kind))


def free_width(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_param = "F"
    weights = next(each for each in proto.graph.initializer if each.name == "weights")
    weights.CopyFrom(
        onnx.numpy_helper.from_array(np.zeros((len(FEATURES) + 1, 1), np.float32), "weights")
    )


@pytest.mark.parametrize(
    ("hooks", "message"),
    [
        (
            {"change_golden": feature("age", 19.0)},
            r"golden\.parquet: row 'golden-1': feature 'age': expected 19\.0, computed 18\.0",
        ),
        (
            {"change_golden": feature("age", 18.001)},
            r"row 'golden-1': feature 'age': expected 18\.00\d+, computed 18\.0",
        ),
        (
            {"change_golden": feature("chol", 0.0)},
            r"row 'golden-1': feature 'chol': expected 0\.0, computed nan",
        ),
        (
            {"change_golden": feature("oldpeak", None)},
            r"row 'golden-1': feature 'oldpeak': expected None, computed 2\.29",
        ),
        (
            {"change_golden": golden("expected_probability", 0.25)},
            r"row 'golden-2': probability: expected 0\.25, computed 0\.0",
        ),
        (
            {"change_golden": golden("expected_probability", None)},
            r"row 'golden-2': probability: expected None",
        ),
        (
            {"change_golden": golden("age", 17)},
            r"row 'golden-2' breaks the contract: body\.age: must be at least 18 years; got 17",
        ),
        ({"change_golden": golden("oldpeak", 1e39)}, "feature SQL fails on the golden rows"),
        ({"change_golden": lambda rows: rows.clear()}, "has no rows"),
        (
            {"change_folder": lambda folder: (folder / "golden.parquet").write_bytes(b"PAR1")},
            r"golden\.parquet: cannot be read",
        ),
        (
            {"sql": SQL.replace("length(note)", "length(note) + 1")},
            r"feature 'note_length': expected 9\.0, computed 10\.0",
        ),
        (
            {"change_folder": lambda folder: (folder / "features.sql").write_bytes(b"\xff")},
            r"features\.sql: not UTF-8 text",
        ),
        ({"sql": SQL.replace("input_rows", "elsewhere")}, "must read input_rows"),
        (
            {"contract": {**CONTRACT, "use_case": "churn"}},
            "expected 'heart_disease', found 'churn'",
        ),
        (
            {"change_manifest": lambda manifest: manifest.update(use_case="churn")},
            r"manifest\.json: use case: expected 'heart_disease', found 'churn'",
        ),
        (
            {"change_manifest": lambda manifest: manifest.update(threshold=1.5)},
            r"manifest\.json: threshold: Input should be less than or equal to 1",
        ),
        (
            {"change_manifest": lambda manifest: manifest.pop("classes")},
            r"manifest\.json: classes: Field required",
        ),
        (
            {"change_manifest": lambda manifest: manifest.update(features=["age", "age"])},
            "features names a feature twice",
        ),
        (
            {"change_manifest": lambda manifest: manifest["features"].append("more")},
            r"differs from the manifest's features: missing \['more'\]",
        ),
        (
            {"change_folder": lambda folder: (folder / "model.onnx").write_bytes(b"not a model")},
            r"model\.onnx: cannot be loaded",
        ),
        (
            {
                "change_folder": lambda folder: (folder / "model.onnx").write_bytes(
                    onnx_model([1.0] * 3).SerializeToString()
                )
            },
            r"expected tensor\(float\) \[n, 9\], found tensor\(float\)",
        ),
        ({"change_folder": model(as_map)}, r"output 'map': expected tensor\(float\), found seq"),
        ({"change_folder": model(free_width)}, r"model\.onnx: cannot run"),
        (
            {"change_folder": model(lambda proto: proto.graph.output.pop())},
            r"output 'label': expected tensor\(float\)",
        ),
    ],
)
def test_refused(tmp_path: Path, hooks: dict[str, Any], message: str) -> None:
    if "change_manifest" in hooks:
        # The list of features is shared by all bundles.
        change = hooks["change_manifest"]
        hooks = {
            "change_manifest": lambda manifest: change(
                manifest.update(copy.deepcopy(manifest)) or manifest
            )
        }
    broken = make_bundle(tmp_path, **hooks)
    with pytest.raises(BundleError, match=message):
        Bundle.load(broken.folder, broken.digest, USE_CASE)


def nudged(difference: float) -> Callable[[list[dict[str, Any]]], None]:
    def do(rows: list[dict[str, Any]]) -> None:
        rows[1]["expected_probability"] += difference

    return do


@pytest.mark.parametrize("change", [feature("age", 18.000002), nudged(8e-6), nudged(-8e-6)])
def test_differences_within_tolerance(
    tmp_path: Path, change: Callable[[list[dict[str, Any]]], None]
) -> None:
    close = make_bundle(tmp_path, change_golden=change)
    assert Bundle.load(close.folder, close.digest, USE_CASE).golden_rows == len(ROWS)


@pytest.mark.parametrize("difference", [1.2e-5, -1.2e-5])
def test_probability_just_outside_tolerance(tmp_path: Path, difference: float) -> None:
    apart = make_bundle(tmp_path, change_golden=nudged(difference))
    with pytest.raises(BundleError, match="row 'golden-1': probability: expected"):
        Bundle.load(apart.folder, apart.digest, USE_CASE)


def test_path_is_not_a_pattern(tmp_path: Path) -> None:
    built = make_bundle(tmp_path / "it's [b]")
    # What the path matches as a pattern: golden rows of another model.
    other = make_bundle(tmp_path / "it's b", seed=2)
    other.folder.rename(other.root / built.path)
    assert Bundle.load(built.folder, built.digest, USE_CASE).golden_rows == len(ROWS)


def test_contract_of_the_bundle_is_the_files(bundle: Bundle, built: Built) -> None:
    text = (built.folder / "contract.json").read_bytes()
    assert bundle.contract.json_schema() == read_contract(text, "contract.json").json_schema()


def test_a_process_that_has_loaded_one_ends_in_silence(built: Built) -> None:
    program = (
        "import sys; from pathlib import Path; from serving.bundle.loaded import Bundle; "
        "Bundle.load(Path(sys.argv[1]), *sys.argv[2:])"
    )
    command = [sys.executable, "-c", program, str(built.folder), built.digest, USE_CASE]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
