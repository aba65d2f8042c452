"""`mlops gate`: data to verdict with a report, in a folder of its own."""

import os
import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import dagster as dg
import pytest

from mlops_assets.cli import main
from mlops_assets.lib.records import current
from mlops_assets.lib.records.history import champion
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.operations.gate.champion import NoChampionError, bring_champion
from mlops_assets.operations.gate.junit import junit
from mlops_assets.operations.gate.outcome import Answer, Crash, Outcome
from mlops_assets.operations.gate.report import as_text, write_report
from mlops_assets.operations.gate.run import gate, own_home
from mlops_assets.resources import Dbt
from tests.platform import DATA, HEART, quick_definitions, quick_spec

CLEVELAND = DATA / "heart_cleveland.csv"


def run(home: Path, spec: UseCase, *files: Path, against: str | None = None) -> Outcome:
    with own_home(home):
        return gate(
            spec, lambda: quick_definitions(spec), files, against=against, say=lambda _: None
        )


def cheap(**gate_: object) -> UseCase:
    """Heart disease with the cheapest training there is."""
    spec = quick_spec().model_dump(mode="json", exclude_unset=True)
    spec["training"] |= {"trials": 1, "candidates": {"logistic_regression": {}}}
    spec["gate"] |= gate_
    return UseCase.model_validate(spec)


def cases(document: bytes) -> dict[str, ElementTree.Element]:
    """Every test case, by name; the counts of each suite are those of its cases."""
    root = ElementTree.fromstring(document)
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        counted = {"tests": "testcase", "failures": "testcase/failure", "errors": "testcase/error"}
        for name, path in counted.items():
            assert suite.get(name) == str(len(suite.findall(path)))
    return {f"{t.get('classname')} {t.get('name')}": t for t in root.iter("testcase")}


@pytest.fixture(scope="module")
def approved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Outcome, Path, Path]:
    """An approved version: the outcome, its report and its home."""
    folder = tmp_path_factory.mktemp("approved")
    outcome = run(folder / "home", cheap())
    write_report(outcome, folder / "report")
    return outcome, folder / "report", folder / "home"


def test_good_data_are_approved(approved: tuple[Outcome, Path, Path]) -> None:
    outcome, report, _ = approved
    assert outcome.passed, as_text(outcome)
    assert outcome.data == ["heart_cleveland.csv"]
    assert outcome.entry is not None
    assert outcome.entry["decision"] == "approved"
    assert re.fullmatch(rf"version of {HEART} approved: \d\d of \d\d checks passed", outcome.result)
    found = cases((report / "junit.xml").read_bytes())
    assert len(found) == len(outcome.answers) > 30
    assert f"{HEART}/promotion gate" in found
    assert not any(t.find("failure") is not None for t in found.values())


def test_everything_the_report_links_is_there(approved: tuple[Outcome, Path, Path]) -> None:
    outcome, report, _ = approved
    text = (report / "report.md").read_text()
    links = re.findall(r"\]\((?!http)([^)]+)\)", text)
    assert "model_card.md" in links
    assert len(links) == 1 + len(outcome.pictures) > 5
    assert all((report / link).stat().st_size > 0 for link in links)
    assert (report / "model_card.md").read_text().startswith("# Does this patient")
    summary = (report / "summary.md").read_text()
    assert "](" not in summary
    for line in ("## Verdict", "## Metrics", "| roc_auc | 0.", "| passed | promotion | gate |"):
        assert line in text.replace("✅ ", "")
        assert line in summary.replace("✅ ", "")


def crowned_copy(home: Path, folder: Path) -> Storage:
    """A storage root in which the approved version of a home is the champion."""
    shutil.copytree(home / "storage", folder)
    store = Storage(folder)
    entry = Ledger(store, HEART).entries()[-1]
    names = ("version", "bundle", "path", "training_set", "wanted", "batches", "actor")
    Ledger(store, HEART).append("promoted", {name: entry[name] for name in names})
    return store


def test_the_environment_is_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLOPS_STORAGE_ROOT", "s3://production/root")
    monkeypatch.delenv("MLOPS_HOME", raising=False)
    with own_home(tmp_path):
        assert "MLOPS_STORAGE_ROOT" not in os.environ
        assert os.environ["MLOPS_HOME"] == str(tmp_path)
        os.environ["MLFLOW_TRACKING_URI"] = "sqlite:///of-the-gate"
    assert os.environ["MLOPS_STORAGE_ROOT"] == "s3://production/root"
    assert not {"MLOPS_HOME", "MLFLOW_TRACKING_URI"} & os.environ.keys()


def test_a_champion_comes_along_whole_and_is_left_alone(
    approved: tuple[Outcome, Path, Path], tmp_path: Path
) -> None:
    _, _, home = approved
    source, store = Storage(home / "storage"), Storage(tmp_path / "storage")
    with pytest.raises(NoChampionError, match=f"has no champion of {HEART}"):
        bring_champion(source, store, HEART)
    assert not store.exists(HEART)
    production = crowned_copy(home, tmp_path / "production")
    before = {file.key: file.stamp for file in production.files("")}
    for _ in range(2):
        assert bring_champion(production, store, HEART).startswith("version 1 of ")
    assert before == {file.key: file.stamp for file in production.files("")}
    crowned = champion(Ledger(store, HEART).verify())
    assert crowned is not None
    lineage = (store.read_json(f"{crowned['path']}/manifest.json") or {})["lineage"]
    for key in (
        f"{HEART}/evaluations/{lineage['evaluation']}.json",
        f"{HEART}/candidates/{lineage['candidate']}/predictions.parquet",
        f"{HEART}/training_sets/{lineage['training_set']}",
    ):
        assert store.exists(key)
    # Nothing of it is current: what the gate makes is.
    assert current.read(store, HEART, "training_set") is None


def test_a_floor_that_cannot_be_reached_rejects_even_the_champion(
    approved: tuple[Outcome, Path, Path], tmp_path: Path
) -> None:
    production = crowned_copy(approved[2], tmp_path / "production")
    spec = cheap(floors={"roc_auc": 0.999})
    outcome = run(tmp_path / "home", spec, against=production.root)
    assert not outcome.passed
    assert [(a.asset, a.check) for a in outcome.stopped_by] == [
        ("evaluation", "floors"),
        ("promotion", "gate"),
    ]
    assert outcome.entry is not None
    assert outcome.entry["decision"] == "rejected"
    assert outcome.against == f"version 1 of {production.root}"
    decisions = [e["decision"] for e in Ledger(production, HEART).verify()]
    assert decisions == ["approved", "promoted"]  # what serves is read, and never written to
    assert not outcome.crashes  # the gate blocks: Dagster stops the run, and that is no crash
    text = write_report(outcome, tmp_path / "report").read_text()
    assert f"**version of {HEART} rejected: " in text
    assert "**rejected**" in text
    assert "floors" in text
    case = cases((tmp_path / "report" / "junit.xml").read_bytes())[f"{HEART}/evaluation floors"]
    failure = case.find("failure")
    assert failure is not None
    assert "roc_auc" in str(failure.get("message"))


def test_a_batch_that_breaks_its_contract_is_refused_before_any_training(tmp_path: Path) -> None:
    broken = tmp_path / "broken.csv"
    broken.write_text(CLEVELAND.read_text().replace("age,", "years,", 1))
    report = tmp_path / "report"
    arguments = ["gate", HEART, "--data", str(broken), "--report", str(report)]
    assert main(arguments) == 1
    text = (report / "report.md").read_text()
    assert f"**data of {HEART} refused: " in text
    assert "❌ failed | validated of broken-" in text
    assert "❌ not run | features of broken-" in text
    assert "training_set" not in text
    assert "## Plots" not in text
    found = cases((report / "junit.xml").read_bytes())
    assert any("schema" in name and t.find("failure") is not None for name, t in found.items())
    assert any("never asked" in str(f.get("message")) for t in found.values() for f in t)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nothing"], "no use case 'nothing'; there are: churn, heart"),
        (["--data", "/does/not/exist.csv"], "there is no file /does/not/exist.csv"),
        (["--against", "/tmp/does-not-exist"], "has no champion of heart_disease"),
    ],
)
def test_a_wrong_call_ends_with_2(
    arguments: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gate", *arguments, "--report", str(tmp_path / "report")]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


def test_a_crash_is_said_with_its_place(tmp_path: Path) -> None:
    def broken() -> dg.Definitions:
        definitions = quick_definitions(cheap())
        dbt = Dbt(executable="/bin/false")
        return dg.Definitions(
            assets=definitions.assets,
            jobs=definitions.jobs,
            executor=definitions.executor,
            resources={**(definitions.resources or {}), "dbt": dbt},
        )

    with own_home(tmp_path / "home"):
        outcome = gate(cheap(), broken, [CLEVELAND], say=lambda _: None)
    assert not outcome.passed
    assert [crash.where for crash in outcome.crashes] == ["features"]
    assert outcome.crashes[0].said
    text = write_report(outcome, tmp_path / "report").read_text()
    assert f"**{HEART} broke in features: " in text
    assert outcome.crashes[0].said in text
    case = cases((tmp_path / "report" / "junit.xml").read_bytes())[f"{HEART}/run features"]
    assert case.find("error") is not None


def test_what_xml_cannot_hold_is_replaced() -> None:
    outcome = Outcome(HEART, "title", [])
    outcome.answers = [
        Answer("raw", "readable", "b", "failed", "a \x00 <byte> & \ud800"),
        Answer("raw", "advice", "b", "warned", "late"),
        Answer("validated", "schema", "b", "not run", ""),
    ]
    outcome.crashes = [Crash("features", "")]
    found = cases(junit(outcome))
    failure = found[f"{HEART}/raw readable [b]"].find("failure")
    assert failure is not None
    assert failure.text == "a \N{REPLACEMENT CHARACTER} <byte> & \N{REPLACEMENT CHARACTER}"
    assert found[f"{HEART}/raw advice [b]"].findtext("system-out") == "advice: late"
    # It fails closed: a check that was never asked is no skipped test.
    assert found[f"{HEART}/validated schema [b]"].find("failure") is not None
    assert found[f"{HEART}/run features"].find("error") is not None


def test_the_verdict_is_shown_with_its_interval(tmp_path: Path) -> None:
    verdict = {"said": "better: difference in ROC AUC +0.0300 (+0.0100 to +0.0500)"}
    entry = {"version": "2", "bundle": "b" * 64, "decision": "approved", "verdict": verdict}
    outcome = Outcome(HEART, "title", [], against="version 1 of s3://x", entry=entry)
    text = write_report(outcome, tmp_path).read_text()
    said = "Verdict against version 1 of s3://x: better: difference in ROC AUC +0.0300 (+0.0100 to"
    assert said in text
    assert not outcome.passed  # there are no checks at all
