from pathlib import Path

import polars as pl
import pytest

from mlops_assets.lib.bundles import bundle, sandbox
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.training.onnx_model import PARITY
from serving.bundle.manifest import MANIFEST
from tests.lib.helpers import TINY, TINY_CONTRACT, Trained

COLUMNS = [c.name for c in TINY_CONTRACT.columns]


def test_real_app_answers_the_golden_rows(
    tiny: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A proxy of the environment, where nothing listens, and settings of another server.
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setenv("SERVING_PORT", "1")
    monkeypatch.setenv("SERVING_POLL_SECONDS", "no number")
    folder = tmp_path / "[b]"
    digest = bundle.digest(bundle.write(tiny.parts(), folder))
    trial = sandbox.try_bundle(folder, digest, TINY, COLUMNS)
    assert trial.problem is None
    assert trial.answered == pl.read_parquet(folder / "golden.parquet", glob=False).height
    assert trial.difference <= PARITY
    assert 0 < trial.seconds < 1
    assert 0 < trial.start_seconds < sandbox.START_SECONDS


def test_golden_row_that_was_tampered_with_is_a_problem(tiny: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    manifest = bundle.write(tiny.parts(), folder)
    golden = pl.read_parquet(folder / "golden.parquet")
    wrong = golden.with_columns(
        pl.when(pl.int_range(pl.len()) == 3)
        .then(0.123456)
        .otherwise("expected_probability")
        .alias("expected_probability")
    )
    wrong.write_parquet(folder / "golden.parquet")
    # As a forger would: every digest agrees with the files again.
    manifest["files"]["golden.parquet"]["sha256"] = file_digest(folder / "golden.parquet")
    bundle._write_json(folder / MANIFEST, manifest)
    trial = sandbox.try_bundle(folder, bundle.digest(manifest), TINY, COLUMNS)
    assert trial.problem is not None
    assert f"row {golden['row_id'][3]!r}: probability: expected 0.123456" in trial.problem
    assert (trial.answered, trial.difference, trial.seconds) == (0, float("inf"), float("inf"))


def test_row_that_the_app_refuses_is_a_problem(tiny: Trained, tmp_path: Path) -> None:
    folder = tmp_path / "b"
    digest = bundle.digest(bundle.write(tiny.parts(), folder))
    trial = sandbox.try_bundle(folder, digest, TINY, [name for name in COLUMNS if name != "grade"])
    assert trial.problem is not None
    assert trial.problem.startswith("/predict answered 422: ")
    assert "grade" in trial.problem


def test_app_that_does_not_start_is_a_problem_at_once(tiny: Trained, tmp_path: Path) -> None:
    # It refuses the name and ends; were that not seen, this test would take START_SECONDS.
    folder = tmp_path / "b"
    digest = bundle.digest(bundle.write(tiny.parts(), folder))
    trial = sandbox.try_bundle(folder, digest, "no name", COLUMNS)
    assert trial.problem is not None
    assert trial.problem.startswith("it ended with status 2; its log ends: ")
    assert "'no name'" in trial.problem


def test_app_that_falls_silent_is_a_problem(tiny: Trained, tmp_path: Path) -> None:
    bundle.write(tiny.parts(), tmp_path / "b")
    nobody = f"http://127.0.0.1:{sandbox.free_port()}"
    trial = sandbox._replay(nobody, tmp_path / "b", COLUMNS, 1.0)
    assert trial.problem is not None
    assert trial.problem.startswith("/predict did not answer: ")


def test_free_port_can_be_listened_on() -> None:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", sandbox.free_port()))
        listener.listen()
        assert listener.getsockname()[1] > 1023
