"""What an environment says of rollouts: it comes before the spec, and its mistakes are named."""

from pathlib import Path

import pytest

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.spec.rollout import Rollout
from mlops_assets.lib.spec.rollout_policy import VARIABLE, rollout_policy
from mlops_assets.lib.spec.spec_file import SpecError
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.operations.doctor.use_cases import policy


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    made = tmp_path / "rollout.yaml"
    monkeypatch.setenv(VARIABLE, str(made))
    return made


def test_fields_of_the_file_come_before_those_of_the_spec(file: Path) -> None:
    written = load_specs()["heart_disease"]
    strict = Rollout(attempts=2, timeout_seconds=5, analysis={"retries": 0, "error_rate": 0.5})
    strict_spec = written.model_copy(update={"rollout": strict})
    file.write_text(
        "heart_disease:\n  steps: [{canary: 10, minutes: 30}]\n  analysis: {error_rate: 0.001}\n"
    )
    found = rollout_policy(strict_spec)
    assert found is not None
    assert found.digest == file_digest(file)
    (rules,) = found.by_use_case.values()
    assert [str(step) for step in rules.steps] == ["canary 10 %"]
    # What the file leaves out is the spec's, limit by limit.
    assert (rules.attempts, rules.timeout_seconds) == (2, 5)
    assert (rules.analysis.error_rate, rules.analysis.retries) == (0.001, 0)
    # No digest of data or models knows of it.
    changed = written.model_copy(update={"rollout": rules})
    assert changed.training_digest == written.training_digest
    (finding,) = policy()
    assert finding.level == "ok"
    assert finding.said.endswith("for heart_disease")


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_a_file_that_lost_its_content_is_a_mistake(file: Path, text: str) -> None:
    file.write_text(text)
    with pytest.raises(SpecError, match="it is empty"):
        rollout_policy()


def test_a_file_may_say_that_nothing_differs(file: Path) -> None:
    file.write_text("{}\n")
    found = rollout_policy()
    assert found is not None
    assert found.by_use_case == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("heart: {}", ["1: heart: no such use case; there are: churn, heart_disease"]),
        ("churn:\n  retries: 1", ["2: churn.retries: is not a field of the spec"]),
        ("churn:\n  attempts: 9", ["2: churn.attempts: stands in the spec alone"]),
        ("churn:", ["1: churn: Input should be a valid dictionary"]),
        ("- churn", ["1: one mapping is wanted"]),
        ("churn: {}\nchurn: {}", ["2: churn: the key is there twice"]),
        ("churn: [", ["1: no YAML"]),
        (
            "churn:\n  steps:\n    - {canary: 10}\nheart_disease:\n  analysis:\n    retries: 99",
            ["3: churn.steps[0].minutes: is required", "6: heart_disease.analysis.retries: Input"],
        ),
    ],
)
def test_mistakes_are_named_with_file_line_and_field(
    file: Path, text: str, said: list[str]
) -> None:
    file.write_text(text)
    with pytest.raises(SpecError) as caught:
        rollout_policy()
    lines = str(caught.value).splitlines()
    assert len(lines) == len(said)
    for line, expected in zip(lines, said, strict=True):
        assert line.startswith(f"{file}:{expected}"), line
    (finding,) = policy()
    assert (finding.level, finding.said) == ("fail", str(caught.value))


def test_a_file_that_is_not_there_is_no_policy_by_chance(file: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"{VARIABLE}={file}: no file"):
        rollout_policy()
