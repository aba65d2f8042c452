"""The ``mlops`` command, as a person calls it."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest

from mlops_assets import home
from mlops_assets.instance import prepare
from mlops_assets.lib.bundles.signing import SigningKey
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage
from serving.access.keys import ApiKeys, parse_api_keys
from tests.platform import DATA, HEART, Platform, environment

MLOPS = Path(sys.executable).parent / "mlops"


def mlops(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [MLOPS, *arguments], env=environment(home), capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("name", ["../x", "Production", "a b", "9"])
def test_an_environment_is_a_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_ENVIRONMENT", name)
    with pytest.raises(ValueError, match="MLOPS_ENVIRONMENT='"):
        home.environment()


def test_land_hands_over_once(tmp_path: Path) -> None:
    first = mlops(tmp_path, "land", HEART, str(DATA / "heart_cleveland.csv"))
    assert first.returncode == 0
    assert "landed as batch heart-cleveland-" in first.stdout
    landed = [p for p in (tmp_path / "storage" / HEART / "landing").rglob("*") if p.is_file()]
    assert [p.read_bytes() for p in landed] == [(DATA / "heart_cleveland.csv").read_bytes()]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["land", "nothing", "x.csv"], "no use case 'nothing'; there are: churn, heart"),
        (["land", HEART, "/does/not/exist.csv"], "there is no file /does/not/exist.csv"),
        (["fetch", HEART, "crm"], f"{HEART} has no source 'crm'; there are: none"),
        (["status", "nothing"], "no use case 'nothing'"),
        (["prune", "nothing"], "no use case 'nothing'"),
        (["withdraw", HEART, "nothing"], "has no batch 'nothing'; none has landed"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(tmp_path: Path, arguments: list[str], said: str) -> None:
    done = mlops(tmp_path, *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_generated_data_land(tmp_path: Path) -> None:
    file = tmp_path / "churn.csv"
    options = ["--rows", "400", "--seed", "2", "--bad-rows", "0.1", "--label-delay", "14"]
    made = mlops(tmp_path, "generate", "churn", *options, "--out", str(file))
    assert made.returncode == 0, made.stderr
    rows = len(file.read_text().splitlines()) - 1
    assert f"{rows} rows, of which" in made.stdout
    assert f"{400 - rows} more wait for their outcome" in made.stdout
    best = re.search(r"best reachable ROC AUC: (0\.\d{4})", made.stdout)
    assert best is not None
    assert 0.7 < float(best[1]) < 0.95
    land = made.stdout.splitlines()[-1].removeprefix("next: mlops ").split()
    assert "landed as batch churn-" in mlops(tmp_path, *land).stdout
    wrong = mlops(tmp_path, "generate", "churn", "--drift", "2", "--out", str(file))
    assert wrong.returncode == 1
    assert wrong.stderr == "mlops: drift: Input should be less than or equal to 1\n"


def test_dagster_is_told_of_a_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path))
    asset = dg.AssetKey(["churn", "sources", "generator"])
    with dg.DagsterInstance.from_config(str(prepare())) as instance:
        done = mlops(tmp_path, "fetch", "churn")
        assert (done.returncode, done.stderr) == (0, "")
        event = instance.get_latest_materialization_event(asset)
        assert event is not None
        assert event.asset_materialization is not None
        assert event.asset_materialization.metadata["new batches"].value == 1
        (record,) = instance.event_log_storage.get_asset_check_execution_history(
            dg.AssetCheckKey(asset, "fetched"), limit=5
        )
        assert record.status.value == "SUCCEEDED"
    # Without its storage the files land all the same.
    shutil.rmtree(tmp_path / "dagster")
    (tmp_path / "dagster").mkdir()
    (tmp_path / "dagster" / "history").write_text("no folder")
    done = mlops(tmp_path, "fetch", "churn")
    assert done.returncode == 0
    assert "landed as batch synthetic-generator-seed-2" in done.stdout
    assert "Dagster could not be told, its UI does not show it: " in done.stderr


def test_status_of_an_empty_folder_has_every_key(tmp_path: Path) -> None:
    done = mlops(tmp_path, "status", HEART, "--json")
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    assert state["batches"] == state["candidates"] == state["versions"] == []
    assert state["failed_checks"] == []
    assert {state[name] for name in ("training_set", "best_roc_auc", "champion", "desired")} == {
        None
    }


def test_status_and_ledger_of_a_trained_platform(trained: Platform) -> None:
    done = mlops(trained.home, "status", HEART, "--json")
    assert done.returncode == 0, done.stderr
    state = json.loads(done.stdout)
    (batch,) = state["batches"]
    assert batch["rows"] == 303
    assert batch["quarantined"] == 0
    assert batch["quality"] > 99
    assert batch["drift"]["judged"] is False  # there was no champion to compare it with
    assert [c["name"] for c in state["candidates"]] == list(trained.spec.training.candidates)
    assert [v["decision"] for v in state["versions"]] == ["approved"]
    assert state["champion"] is None
    assert sum(state["training_set"]["rows"].values()) == 303
    shown = mlops(trained.home, "ledger", "show", HEART)
    assert "approved version 1" in shown.stdout
    verified = mlops(trained.home, "ledger", "verify", HEART)
    assert "1 entries, the chain holds" in verified.stdout
    assert f"\n\n{HEART}\n" in mlops(trained.home, "status").stdout


def test_clean_removes_only_a_folder_of_its_own(tmp_path: Path) -> None:
    home = tmp_path / "home"
    mlops(home, "land", HEART, str(DATA / "heart_cleveland.csv"))
    (home / "thesis.doc").write_text("mine")
    refused = mlops(home, "clean")
    assert refused.returncode == 1
    assert "thesis.doc" in refused.stderr
    (home / "thesis.doc").unlink()
    assert mlops(home, "clean").returncode == 0
    assert not home.exists()


def test_a_ledger_that_was_edited_is_shown_and_said(tmp_path: Path) -> None:
    ledger = Ledger(Storage(tmp_path / "storage"), HEART)
    ledger.append("withdrawn", {"batch": "b", "actor": "ann", "reasons": ["r"]})
    path = tmp_path / "storage" / HEART / "ledger" / "00000001.json"
    path.write_text(path.read_text().replace("ann", "bob"))
    for command in (["ledger", "show", HEART], ["status", HEART]):
        done = mlops(tmp_path, *command)
        assert done.returncode == 1
        assert done.stdout
        assert "was edited after it was written" in done.stderr


def test_keys_are_made_and_shown_once(tmp_path: Path) -> None:
    file = tmp_path / "signing.key"
    made = mlops(tmp_path, "keys", "new", str(file))
    assert made.returncode == 0, made.stderr
    assert file.stat().st_mode & 0o777 == 0o600
    private = file.read_text().strip()
    assert private not in made.stdout
    key = SigningKey.parse(private)
    assert made.stdout.splitlines() == [
        f"key {key.id}",
        f"private half, where bundles are made: MLOPS_SIGNING_KEY_FILE={file}",
        f"public half, where they are served:   SERVING_TRUSTED_KEYS={key.public}",
    ]
    again = mlops(tmp_path, "keys", "new", str(file))
    assert again.returncode == 1
    assert again.stderr.splitlines() == [
        f"mlops: {file} is there already, and may be a key in use; name a new file"
    ]
    assert file.read_text().strip() == private

    made = mlops(tmp_path, "keys", "api", "alice")
    client, line = (text.rsplit(" ", 1)[1] for text in made.stdout.splitlines())
    assert len(client) == len("mlops_") + 43
    assert ApiKeys(parse_api_keys(line)).name(client.encode()) == "alice"
    assert mlops(tmp_path, "keys", "api", "a:b").returncode == 1


def test_an_mlflow_that_is_away_is_said_within_seconds(tmp_path: Path) -> None:
    away = {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9", "MLOPS_LEDGER_ANCHOR": "on"}
    done = subprocess.run(
        [MLOPS, "ledger", "verify", HEART],
        env=environment(tmp_path) | away,
        capture_output=True,
        text=True,
        check=False,
        timeout=90,  # MLflow itself would try for four minutes
    )
    assert done.returncode == 1
    said = "mlops: MLflow at http://127.0.0.1:9 does not answer: [Errno 111] Connection refused"
    assert done.stderr.splitlines()[-1] == said
    assert "Traceback" not in done.stderr
