"""Values that a library refuses are found before anything is trained."""

from pathlib import Path

import pytest

from mlops_assets.lib.spec.spec_file import SpecError, documents
from mlops_assets.lib.training.parameter_check import check_parameters
from tests.lib.spec.test_spec_file import SPEC


def mistakes(folder: Path, candidates: str) -> list[str]:
    """What is said of candidates, with the line."""
    path = folder / "defs.yaml"
    path.write_text(SPEC.replace("logistic_regression: {}\n      xgboost: {}", candidates))
    (document,) = documents(path)
    try:
        check_parameters(document, document.spec())
    except SpecError as error:
        return [str(mistake).removeprefix(f"{path}:") for mistake in error.mistakes]
    return []


@pytest.mark.parametrize(
    ("candidates", "said"),
    [
        ("logistic_regression: {fixed: {C: -1}}", "logistic_regression.fixed.C: -1 is refused: "),
        ("xgboost: {fixed: {n_estimators: many}}", "xgboost.fixed.n_estimators: 'many' is refused"),
        ("xgboost: {fixed: {class_weight: heavy}}", "xgboost.fixed.class_weight: 'heavy' is"),
        ("xgboost: {search: {subsample: {low: 0.5, high: 2}}}", "xgboost.search.subsample: 2"),
        (
            "random_forest: {search: {criterion: {choices: [gini, best]}}}",
            "random_forest.search.criterion: 'best' is refused: The 'criterion' parameter of",
        ),
        (
            "logistic_regression: {fixed: {solver: newton-cg, l1_ratio: 0.5}}",
            "logistic_regression.fixed.l1_ratio: 0.5 is refused: ",
        ),
        ("logistic_regression: {fixed: {l1_ratio: 0.5, solver: saga}}", None),
        ("gradient_boosting: {fixed: {max_iter: 5000, max_depth: 3}}", None),
        ("xgboost: {search: {class_weight: {choices: [null, balanced]}}}", None),
    ],
)
def test_a_value_that_the_library_refuses_is_named(
    tmp_path: Path, candidates: str, said: str | None
) -> None:
    found = mistakes(tmp_path, candidates)
    assert len(found) == (said is not None), found
    assert said is None or found[0].startswith(f"24: training.candidates.{said}"), found


def test_every_field_with_such_a_value_is_named(tmp_path: Path) -> None:
    fixed = "xgboost:\n        fixed:\n          max_depth: -2\n          gamma: x\n"
    assert [line.split(":")[0] for line in mistakes(tmp_path, fixed)] == ["26", "27"]
