"""``mlops new`` and ``dg scaffold defs`` in a copy of the repository."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from mlops_assets.lib.spec.spec_file import documents
from tests.authoring import samples
from tests.project_copy import ProjectCopy


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> ProjectCopy:
    return ProjectCopy(tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return samples.write(tmp_path_factory.mktemp("sample") / "customers.csv", delimiter=";")


@pytest.fixture(scope="module")
def made(project: ProjectCopy, sample: Path) -> subprocess.CompletedProcess[str]:
    return project.run("mlops", "new", "leavers", "--from", str(sample), "--target", "Churn?")


def test_a_use_case_is_drafted_and_explained(
    made: subprocess.CompletedProcess[str], project: ProjectCopy
) -> None:
    assert made.returncode == 0, made.stderr
    for said in (
        "600 rows keep this contract and 0 do not",
        "customer_id",
        "proposed as the key",
        "its values look like e-mail addresses",
        "cancelled: it tells the outcome alone",
        "mlops land leavers",
    ):
        assert said in made.stdout
    (document,) = documents(project.root / "mlops_assets" / "defs" / "leavers" / "defs.yaml")
    assert document.spec().contract.key == ["customer_id"]


def test_what_is_there_is_not_written_over(
    made: subprocess.CompletedProcess[str], project: ProjectCopy, sample: Path
) -> None:
    assert made.returncode == 0
    before = {path: path.read_bytes() for path in project.use_case_files("leavers")}
    command = ["mlops", "new", "leavers", "--from", str(sample), "--target", "Churn?"]
    refused = project.run(*command)
    assert refused.returncode == 1
    assert "defs.yaml" in refused.stderr
    assert "--force writes over it" in refused.stderr
    # A name that only dbt finds fault with: everything is as it was.
    model = project.root / "dbt_features" / "models" / "leavers" / "other.yml"
    model.write_text("models: [{name: leavers_features, description: again}]\n")
    failed = project.run(*command, "--force")
    model.unlink()
    assert failed.returncode == 1, failed.stdout
    assert "dbt cannot parse" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert {path: path.read_bytes() for path in project.use_case_files("leavers")} == before


def test_the_contract_suite_covers_it_with_no_new_test(
    made: subprocess.CompletedProcess[str], project: ProjectCopy
) -> None:
    assert made.returncode == 0
    suite = [sys.executable, "-m", "pytest", "-q", "-n0", "--no-cov", "-p", "no:cacheprovider"]
    done = project.run(*suite, "tests/use_cases", "-k", "leavers")
    assert done.returncode == 0, done.stdout
    assert re.search(r"[6-9] passed", done.stdout), done.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["Bad-Name", "--from", "x.csv", "--target", "y"], "'Bad-Name' is no name of a use case"),
        (["x", "--from", "x.csv", "--target", "y"], "there is no file x.csv"),
        (["x", "--from", "docs/images/lineage.png", "--target", "y"], "is a binary file, not text"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(
    project: ProjectCopy, arguments: list[str], said: str
) -> None:
    done = project.run("mlops", "new", *arguments)
    assert done.returncode == 1
    assert said in done.stderr
    assert project.use_case_files("x") == []


def test_scaffold_writes_a_template_that_loads(project: ProjectCopy) -> None:
    scaffold = ["dg", "scaffold", "defs", "mlops_assets.TabularClassifier"]
    done = project.run(*scaffold, "sales")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "mlops check sales" in done.stdout
    checked = project.run("mlops", "check", "sales")
    assert checked.returncode == 0, checked.stderr
    assert "sales: 3 inputs, 6 features, 5 data tests; no mistake found" in checked.stdout
    path = project.root / "mlops_assets" / "defs" / "sales" / "defs.yaml"
    text = path.read_text()
    # The drafted SQL has a column for each value that it was drafted with.
    path.write_text(text.replace('"public"]', '"public", "club"]'))
    unknown = project.run("mlops", "check", "sales")
    assert unknown.returncode == 1
    assert "contract.columns[segment].allowed[3]: the data test sales_one_segment" in unknown.stderr
    assert "fails for segment club" in unknown.stderr
    # Another component of the same type comes later: Dagster's check of YAML passes this one over.
    path.write_text(text.replace("maximum: 500", "maximum: -5"))
    line = next(n for n, content in enumerate(text.splitlines(), 1) if "maximum: 500" in content)
    wrong = project.run("dg", "check", "defs")
    assert wrong.returncode == 1
    assert f"{path}:{line - 1}: contract.columns[visits].minimum: " in wrong.stdout + wrong.stderr


@pytest.mark.parametrize("name", ["Bad Name", "below/sales"])
def test_scaffold_refuses_a_name_in_a_line(project: ProjectCopy, name: str) -> None:
    defs = project.root / "mlops_assets" / "defs"
    before = sorted(defs.iterdir())
    refused = project.run("dg", "scaffold", "defs", "mlops_assets.TabularClassifier", name)
    assert refused.returncode == 1
    assert re.search(r"Error: .*(is no name|give its name alone)", refused.stderr)
    assert "Traceback" not in refused.stdout + refused.stderr
    assert sorted(defs.iterdir()) == before
