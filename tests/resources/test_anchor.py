"""The anchor: what shows that a ledger was cut off or written anew as a whole."""

import json
import shutil
from pathlib import Path

import pytest

from mlops_assets import cli
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources import MlflowTracking

HEART = "heart_disease"


@pytest.fixture
def anchored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ledger:
    """A ledger of three entries in production; the second is anchored."""
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    monkeypatch.setenv("MLOPS_ENVIRONMENT", "production")
    uri = f"sqlite:///{tmp_path / 'mlflow' / 'mlflow.db'}"
    mlflow = MlflowTracking(tracking_uri=uri, ui="", dagster_ui="")
    mlflow.client().create_registered_model(HEART)
    ledger = Ledger(Storage(tmp_path / "storage"), HEART)
    for number in range(3):
        about = {"version": str(number), "bundle": f"b{number}", "actor": "test"}
        entry = ledger.append("approved", about)
        if number < 2:
            mlflow.anchor(HEART, entry)
    # An older one never takes the place of a newer one.
    mlflow.anchor(HEART, ledger.entries()[0])
    assert mlflow.anchored(HEART) == (2, ledger.entries()[1]["hash"])
    return ledger


def verify(capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = cli.main(["ledger", "verify", HEART])
    printed = capsys.readouterr()
    return code, printed.out + printed.err


def rewritten(ledger: Ledger, count: int) -> None:
    """Replace a ledger by one of other decisions, whose chain holds."""
    folder = ledger.storage.local(f"{HEART}/ledger")
    shutil.rmtree(folder)
    for number in range(count):
        ledger.append("rejected", {"version": str(number), "bundle": f"b{number}", "actor": "eve"})
    assert len(ledger.verify()) == count


def test_a_ledger_that_holds_says_what_is_anchored(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = verify(capsys)
    assert code == 0
    assert f"{len(anchored.entries())} entries, the chain holds" in said
    assert "entry 2 is the one anchored in MLflow" in said


def test_a_ledger_that_was_cut_off_before_its_anchor_is_found(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in (2, 3):
        anchored.storage.local(f"{HEART}/ledger/{number:08d}.json").unlink()
    assert len(anchored.verify()) == 1
    code, said = verify(capsys)
    assert code == 1
    assert "it has 1 entries, and entry 2 was anchored in MLflow: it was cut off" in said


def test_a_ledger_that_was_written_anew_is_found(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    rewritten(anchored, 3)
    code, said = verify(capsys)
    assert code == 1
    assert "entry 2: is not the one that was anchored" in said


def test_what_the_anchor_does_not_show_is_what_came_after_it(
    anchored: Ledger, capsys: pytest.CaptureFixture[str]
) -> None:
    anchored.storage.local(f"{HEART}/ledger/00000003.json").unlink()
    assert verify(capsys)[0] == 0


def test_an_edit_is_found_without_the_anchor(
    anchored: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLOPS_LEDGER_ANCHOR", "off")
    path = anchored.storage.local(f"{HEART}/ledger/00000002.json")
    entry = json.loads(path.read_text()) | {"decision": "promoted"}
    entry["hash"] = digest_of({key: value for key, value in entry.items() if key != "hash"})
    path.write_text(json.dumps(entry))
    code, said = verify(capsys)
    assert code == 1
    assert "entry 3: does not follow from the entry before it" in said


def test_a_word_that_is_neither_on_nor_off_is_refused(
    anchored: Ledger, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del anchored
    monkeypatch.setenv("MLOPS_LEDGER_ANCHOR", "maybe")
    code, said = verify(capsys)
    assert code == 1
    assert "MLOPS_LEDGER_ANCHOR='maybe': on or off" in said
