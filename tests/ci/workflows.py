"""The jobs of both CI systems as data: what they run, with which variables."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
GITHUB = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / ".gitlab-ci.yml"
# Keywords of the top level of .gitlab-ci.yml, which are no jobs.
_NO_JOBS = {"stages", "workflow", "variables", "default", "include"}


@dataclass(frozen=True)
class Line:
    """One line that a job runs.

    Attributes:
        file: Of the workflow.
        job: Its name.
        text: For a shell.
        environment: What the workflow gives it; expressions of the CI system as they stand there.
    """

    file: str
    job: str
    text: str
    environment: dict[str, str]

    def __str__(self) -> str:
        return f"{self.file} {self.job}: {self.text}"


def load(path: Path) -> dict[str, Any]:
    """Read a workflow; ``on`` is no boolean here."""
    found: dict[Any, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return {"on" if key is True else str(key): value for key, value in found.items()}


def github_jobs() -> Iterator[tuple[str, str, dict[str, Any], dict[str, Any]]]:
    """File, name and content of each job, with its workflow."""
    for path in GITHUB:
        workflow = load(path)
        for name, job in workflow["jobs"].items():
            yield path.name, name, job, workflow


def gitlab_jobs() -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and content of each job, with what it extends."""
    document = load(GITLAB)
    for name, job in document.items():
        if name not in _NO_JOBS and not name.startswith("."):
            yield name, {**document.get(job.get("extends"), {}), **job}


def lines() -> Iterator[Line]:
    """Every line that any job runs."""
    for file, name, job, workflow in github_jobs():
        for step in job.get("steps", ()):
            given = {**workflow.get("env", {}), **job.get("env", {}), **step.get("env", {})}
            for text in str(step.get("run", "")).splitlines():
                yield Line(file, name, text, given)
    for name, job in gitlab_jobs():
        for part in ("before_script", "script", "after_script"):
            for text in job.get(part, ()):
                yield Line(GITLAB.name, name, text, dict(job.get("variables", {})))
