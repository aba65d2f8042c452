"""What the workflows of both CI systems say, and each line that they run, run here.

Light lines run for real, against programs that stand for the cloud's (`docker`, `kubectl`, `gh`)
and write down what they were told. Heavy ones (tests, training, builds) are make targets: `make -n`
gives the commands behind them, and these are read by the real parsers.
"""

import contextlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
import yaml

from mlops_assets.cli import _parser
from tests.ci.workflows import GITHUB, GITLAB, ROOT, Line, github_jobs, gitlab_jobs, lines, load

VENV = Path(sys.prefix)
DIGEST = "sha256:" + "a" * 64
# Stands for what the cloud has: it writes down its arguments and what it reads, and answers.
STAND_IN = """#!/bin/sh
{ echo "$(basename "$0") $*"; [ -t 0 ] || cat; } >> "$CALLS"
case "$1 $2" in "image inspect") echo "registry/name@%s";; esac
"""
ENVIRONMENT = {
    "GITHUB_REPOSITORY": "Acme/Hearts",
    "GITHUB_ACTOR": "ann",
    "GITHUB_SHA": "f" * 40,
    "NUMBER": "7",
    "TOKEN": "a-token",
    "CONFIG": "apiVersion: v1\nkind: Config",
    "USE_CASE": "churn",
    "AGAINST": "s3://production/root",
    "GATE_AGAINST": "",
    "SERVING": DIGEST,
    "DAGSTER": DIGEST,
    "serving": DIGEST,
    "dagster": DIGEST,
    "IMAGE": "registry/name",
    "TAG": "1",
    "CI_REGISTRY": "registry",
    "CI_REGISTRY_IMAGE": "registry/name",
    "CI_REGISTRY_USER": "ann",
    "CI_REGISTRY_PASSWORD": "a-password",
    "CI_ENVIRONMENT_NAME": "production",
}
# A make target that takes long, or leaves the machine; what it runs is read below.
HEAVY = {"style", "types", "pytest", "audit", "data-checks", "gate", "image", "image-check"}


def target(line: Line) -> str | None:
    """The make target of a line, or None where it calls no make."""
    words = [word for word in shlex.split(line.text) if not word.startswith("-")]
    return words[1] if words[0] == "make" else None


class Workplace:
    """A copy of what the lines need, with stand-ins for the programs of the cloud."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "project"
        self.calls = folder / "calls"
        self.output = folder / "output"
        programs = folder / "bin"
        programs.mkdir()
        for name in ("docker", "kubectl", "gh", "trivy", "apk"):
            (programs / name).write_text(STAND_IN % DIGEST)
            (programs / name).chmod(0o755)
        self.root.mkdir()
        for name in ("Makefile", "pyproject.toml", ".gitlab-ci.yml", ".hadolint.yaml"):
            shutil.copy2(ROOT / name, self.root / name)
        for name in ("Dockerfile", ".github", "requirements"):
            path = ROOT / name
            (shutil.copytree if path.is_dir() else shutil.copy2)(path, self.root / name)
        for environment in ("staging", "production"):
            (self.root / "deploy" / "kubernetes" / "overlays" / environment).mkdir(parents=True)
        for report in ("gate", "data"):
            (self.root / "build" / report).mkdir(parents=True)
            (self.root / "build" / report / "summary.md").write_text(f"# {report}\n")
        self.environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("CI", "GITHUB", "MAKE"))},
            **ENVIRONMENT,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "CALLS": str(self.calls),
            "GITHUB_OUTPUT": str(self.output),
            "GITHUB_ENV": str(folder / "env"),
            "GITHUB_STEP_SUMMARY": str(folder / "summary"),
            "RUNNER_TEMP": str(folder),
        }

    def run(self, text: str, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a line as a runner does, with the environment that is installed here."""
        text = re.sub(r"\bmake ", f"make --old-file=setup-dev --old-file=setup VENV={VENV} ", text)
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", text],
            cwd=self.root,
            env={**self.environment, **more},
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )

    def called(self) -> str:
        return self.calls.read_text() if self.calls.exists() else ""


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(tmp_path)


EVERY = list(lines())
MAKE = [line for line in EVERY if target(line)]
LIGHT = [line for line in EVERY if target(line) not in HEAVY]


def test_the_jobs_are_there() -> None:
    names = {name for _, name, *_ in github_jobs()}
    assert names >= {
        "lint", "types", "tests", "data-checks", "gate", "audit", "image", "publish", "staging",
        "production",
    }  # fmt: skip
    other = {name for name, _ in gitlab_jobs()}
    assert other >= names - {"lint", "image", "publish", "checks"} | {"style", "images", "scan"}
    assert len(EVERY) > 30


@pytest.mark.parametrize("line", [line for line in MAKE if target(line) in HEAVY], ids=str)
def test_a_heavy_line_names_a_target_and_what_it_runs_is_understood(
    line: Line, place: Workplace
) -> None:
    done = place.run(line.text.replace("make ", "make -n ", 1), **_plain(line))
    assert done.returncode == 0, done.stderr
    commands = [shlex.split(command) for command in done.stdout.splitlines() if "mlops " in command]
    assert (target(line) in ("gate", "data-checks")) == bool(commands)
    for command in commands:
        options = _parser().parse_args(command[1:])
        assert options.data_only == (target(line) == "data-checks")
        assert options.use_case in ("heart_disease", "churn")
        assert str(options.report) in ("build/gate", "build/data")


@pytest.mark.parametrize("line", LIGHT, ids=str)
def test_a_light_line_runs(line: Line, place: Workplace) -> None:
    done = place.run(line.text, **_plain(line))
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"


def _plain(line: Line) -> dict[str, str]:
    """What the workflow gives a line, as far as it is no expression of the CI system."""
    return {k: str(v) for k, v in line.environment.items() if "$" not in str(v)}


def test_a_secret_is_seen_by_no_other_program(place: Workplace) -> None:
    logins = [line for line in EVERY if "login" in line.text]
    assert len(logins) >= 2
    for line in logins:
        assert place.run(line.text).returncode == 0
    for call in re.findall(r"^docker .*", place.called(), re.MULTILINE):
        assert "a-token" not in call
        assert "a-password" not in call
    assert "a-token" in place.called()  # on its standard input


def test_a_push_tells_the_digests(place: Workplace) -> None:
    (line,) = [each for each in EVERY if each.job == "publish" and target(each) == "push"]
    assert place.run(line.text).returncode == 0
    assert place.output.read_text() == f"serving={DIGEST}\ndagster={DIGEST}\n"
    assert "docker push registry/name/serving:" in place.called()


def test_a_deployment_is_by_digest(place: Workplace) -> None:
    deploys = [line for line in EVERY if target(line) == "deploy"]
    assert {line.job for line in deploys} == {"staging", "production"}
    assert place.run(deploys[0].text).returncode == 0
    written = place.root / "build" / "deploy" / "staging" / "kustomization.yaml"
    found = yaml.safe_load(written.read_text())
    (overlay,) = found["resources"]
    assert (written.parent / overlay).resolve() == place.root / "deploy/kubernetes/overlays/staging"
    assert {image["name"]: image["digest"] for image in found["images"]} == {
        "mlops-assets/serving": DIGEST,
        "mlops-assets/dagster": DIGEST,
    }
    # By fields: what a rollout or an autoscaler has written stays.
    applied = "kubectl apply --server-side --field-manager mlops-deploy -k build/deploy/staging"
    assert applied in place.called()
    assert "--namespace mlops-staging rollout status" in place.called()
    for wrong, said in (
        ({"SERVING": "latest"}, "give SERVING=sha256:"),
        ({"DAGSTER": ""}, "give SERVING=sha256:"),
    ):
        refused = place.run(deploys[0].text, **wrong)
        assert refused.returncode != 0
        assert said in refused.stdout
    refused = place.run(deploys[0].text.replace("ENVIRONMENT=staging", "ENVIRONMENT=moon"))
    assert "there is no deploy/kubernetes/overlays/moon" in refused.stdout


def test_the_report_reaches_the_pull_request(place: Workplace) -> None:
    for line in EVERY:
        if "GITHUB_STEP_SUMMARY" in line.text or line.text.startswith("gh "):
            assert place.run(line.text).returncode == 0
    assert (place.root.parent / "summary").read_text() == "# data\n# gate\n"
    assert "gh pr comment 7 --body-file build/gate/summary.md --edit-last" in place.called()


@contextlib.contextmanager
def gitlab() -> Iterator[tuple[str, list[tuple[str, Any, Any]]]]:
    """Something that takes notes on merge requests."""
    notes: list[tuple[str, Any, Any]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            notes.append((self.path, self.headers["private-token"], parse_qs(body)))
            self.send_response(201)
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/api/v4", notes
        server.shutdown()


@pytest.mark.skipif(not shutil.which("curl"), reason="there is no curl on this machine")
def test_the_report_becomes_a_note(place: Workplace) -> None:
    (line,) = [each for each in EVERY if "make note" in each.text]
    with gitlab() as (url, notes):
        given = {"CI_API_V4_URL": url, "CI_PROJECT_ID": "5", "CI_MERGE_REQUEST_IID": "9"}
        assert place.run(line.text, **given).returncode == 0
        assert notes == []  # nobody has given a token
        done = place.run(line.text, **given, GATE_NOTE_TOKEN="secret")
        assert done.returncode == 0, done.stderr
    path = "/api/v4/projects/5/merge_requests/9/notes"
    assert notes == [(path, "secret", {"body": ["# gate\n"]})]


@pytest.mark.parametrize("path", GITHUB, ids=lambda path: str(path.name))
def test_no_more_is_allowed_than_is_needed(path: Path) -> None:
    workflow = load(path)
    assert workflow["permissions"] == {"contents": "read"}
    assert "concurrency" in workflow
    assert "pull_request_target" not in workflow["on"]
    writing = {
        (name, scope)
        for name, job in workflow["jobs"].items()
        for scope, level in job.get("permissions", {}).items()
        if level == "write"
    }
    assert writing <= {
        ("gate", "pull-requests"),
        ("checks", "pull-requests"),
        ("publish", "packages"),
    }
    for name, job in workflow["jobs"].items():
        if "uses" in job:
            continue
        assert 0 < job["timeout-minutes"] <= 60, name
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", step["uses"]), step["uses"]
            if step.get("uses", "").startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False
            # What others may write (titles, branches) is never pasted into a script.
            assert "${{" not in step.get("run", "")
    pinned = re.findall(r"uses: [^ .]\S+@\S+(.*)", path.read_text())
    assert all(re.fullmatch(r" # v?\d+\.\d+\.\d+", comment) for comment in pinned)


def test_nothing_reaches_production_before_staging_and_a_person() -> None:
    deploy = load(ROOT / ".github" / "workflows" / "deploy.yml")
    jobs = deploy["jobs"]
    assert deploy["on"] == {"push": {"branches": ["main"]}}
    assert not deploy["concurrency"]["cancel-in-progress"]
    assert jobs["publish"]["needs"] == ["checks"]
    assert jobs["staging"]["needs"] == ["publish"]
    assert "staging" in jobs["production"]["needs"]
    assert (jobs["staging"]["environment"], jobs["production"]["environment"]) == (
        "staging",
        "production",
    )
    other = dict(gitlab_jobs())
    assert "staging" in other["production"]["needs"]
    assert other["production"]["environment"] == "production"
    (rule,) = other["production"]["rules"]
    assert rule["when"] == "manual"
    assert rule["allow_failure"] is False
    assert all("DEFAULT_BRANCH" in rule["if"] for rule in other["staging"]["rules"])


def test_both_test_every_python() -> None:
    ci = load(ROOT / ".github" / "workflows" / "ci.yml")
    versions = ["3.11", "3.12", "3.13"]
    assert ci["jobs"]["tests"]["strategy"]["matrix"]["python"] == versions
    (matrix,) = load(GITLAB)["tests"]["parallel"]["matrix"]
    assert matrix["VERSION_OF_PYTHON"] == versions


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda text: text.replace("runs-on:", "run-on:", 1), "run-on"),
        (lambda text: text.replace("needs: [data-checks]", "needs: [nothing]"), "nothing"),
        (lambda text: text.replace("matrix.use_case", "matrix.usecase"), "usecase"),
    ],
)
def test_the_lint_sees_a_mistake(spoil: Callable[[str], str], said: str, place: Workplace) -> None:
    path = place.root / ".github" / "workflows" / "ci.yml"
    path.write_text(spoil(path.read_text()))
    done = place.run("make delivery")
    assert done.returncode != 0
    assert said in done.stdout
