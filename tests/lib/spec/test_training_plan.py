from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from mlops_assets.lib.spec.training_plan import (
    FIXED,
    SEARCH,
    STACK,
    Candidate,
    Choice,
    FloatRange,
    IntRange,
    Training,
)

BASE = ["logistic_regression", "random_forest", "gradient_boosting", "xgboost"]


def plan(text: str) -> Training:
    """A plan as it is read from YAML."""
    return Training.model_validate(yaml.safe_load(text))


def test_every_algorithm_takes_part_when_none_is_named() -> None:
    usual = Training()
    assert list(usual.candidates) == [*BASE, STACK]
    assert usual.members == BASE
    for algorithm in usual.candidates:
        assert usual.search(algorithm) == SEARCH[algorithm]
        assert usual.fixed(algorithm) == FIXED.get(algorithm, {})


def test_every_algorithm_but_the_stack_has_something_to_search() -> None:
    assert {algorithm for algorithm, space in SEARCH.items() if not space} == {STACK}


def test_candidate_with_nothing_after_it_takes_part_as_usual() -> None:
    read = plan("candidates: {xgboost: , random_forest: null}")
    assert read.candidates == {"xgboost": Candidate(), "random_forest": Candidate()}
    assert read.search("xgboost") == SEARCH["xgboost"]


def test_candidates_of_a_plan_that_is_read_stay_as_they_were_given() -> None:
    given: dict[str, Any] = {"candidates": {"xgboost": None}}
    Training.model_validate(given)
    assert given == {"candidates": {"xgboost": None}}


@pytest.mark.parametrize("nothing", ["candidates: {}", "candidates: "])
def test_contest_of_nobody_is_refused(nothing: str) -> None:
    with pytest.raises(ValidationError, match="candidates"):
        plan(nothing)


def test_search_of_the_spec_replaces_the_usual_one() -> None:
    read = plan("candidates: {xgboost: {search: {max_depth: {low: 2, high: 3}}}}")
    assert read.search("xgboost") == {"max_depth": IntRange(low=2, high=3)}
    assert read.fixed("xgboost") == {"n_estimators": 400}


def test_empty_search_searches_nothing() -> None:
    read = plan("candidates: {xgboost: {search: {}}}")
    assert read.search("xgboost") == {}


def test_fixed_parameter_is_taken_out_of_the_usual_search() -> None:
    read = plan("candidates: {xgboost: {fixed: {max_depth: 2}}}")
    assert read.search("xgboost").keys() == SEARCH["xgboost"].keys() - {"max_depth"}
    assert read.fixed("xgboost") == {"n_estimators": 400, "max_depth": 2}


def test_fixed_parameter_takes_the_place_of_the_usual_value() -> None:
    read = plan("candidates: {random_forest: {fixed: {n_estimators: 9}}}")
    assert read.fixed("random_forest") == {"n_estimators": 9}


def test_searched_parameter_is_not_fixed_to_its_usual_value() -> None:
    read = plan("candidates: {random_forest: {search: {n_estimators: {low: 5, high: 9}}}}")
    assert read.search("random_forest").keys() == {"n_estimators"}
    assert read.fixed("random_forest") == {}


def test_parameter_searched_and_fixed_at_once_is_refused() -> None:
    given = {"search": {"C": {"low": 1, "high": 2}}, "fixed": {"C": 1, "tol": 0.1}}
    with pytest.raises(ValidationError, match="C: searched and fixed at once"):
        Candidate.model_validate(given)


@pytest.mark.parametrize(
    ("text", "same"), [("3", 3), ("0.5", 0.5), ("true", True), ("null", None), ("auto", "auto")]
)
def test_value_keeps_its_type(text: str, same: Any) -> None:
    fixed = plan(f"candidates: {{xgboost: {{fixed: {{gamma: {text}}}}}}}").fixed("xgboost")["gamma"]
    assert (type(fixed), fixed) == (type(same), same)
    chosen = plan(f"candidates: {{xgboost: {{search: {{gamma: {{choices: [{text}]}}}}}}}}")
    assert chosen.search("xgboost") == {"gamma": Choice(choices=[same])}


def test_choice_of_nothing_is_refused() -> None:
    with pytest.raises(ValidationError, match="at least 1 item"):
        Choice(choices=[])


@pytest.mark.parametrize(
    ("candidates", "enough"),
    [
        ([STACK], False),
        ([STACK, "xgboost"], False),
        ([STACK, "xgboost", "random_forest"], True),
        (["xgboost"], True),
    ],
)
def test_stack_needs_two_others(candidates: list[str], enough: bool) -> None:
    given = {"candidates": dict.fromkeys(candidates)}
    if enough:
        assert Training.model_validate(given).members == [c for c in candidates if c != STACK]
        return
    with pytest.raises(ValidationError, match="stacked_ensemble needs two others"):
        Training.model_validate(given)


@pytest.mark.parametrize(
    ("positives", "outer", "inner", "enough"),
    [
        (8, 8, 2, True),
        (7, 8, 2, False),
        # Two outer folds leave half of them for the inner folds.
        (10, 2, 5, True),
        (9, 2, 5, False),
    ],
)
def test_every_fold_must_get_a_positive(
    positives: int, outer: int, inner: int, enough: bool
) -> None:
    given = {"minimum_positives": positives, "outer_folds": outer, "inner_folds": inner}
    if enough:
        assert Training.model_validate(given).minimum_positives == positives
        return
    with pytest.raises(ValidationError, match=f"need at least {positives + 1}"):
        Training.model_validate(given)


@pytest.mark.parametrize(
    ("candidate", "trials"),
    [
        ("xgboost: ", 12),
        ("xgboost: {trials: 4}", 4),
        ("xgboost: {search: {}}", 1),
        ("xgboost: {search: {}, trials: 4}", 1),
        ("xgboost: {search: {max_depth: {low: 1, high: 2}}, trials: 4}", 4),
    ],
)
def test_trials_are_the_candidates_own_or_the_plans(candidate: str, trials: int) -> None:
    assert plan(f"trials: 12\ncandidates: {{{candidate}}}").trials_of("xgboost") == trials


def test_stack_searches_nothing() -> None:
    assert Training().trials_of(STACK) == 1


@pytest.mark.parametrize(
    ("space", "message"),
    [
        ({"low": 3, "high": 3}, "low 3 is not below high 3"),
        ({"low": 2.0, "high": 1.0}, r"low 2\.0 is not below high 1\.0"),
        ({"low": 0.0, "high": 1.0, "log": True}, "a logarithmic range starts above 0, not at 0.0"),
        ({"low": 0, "high": 1, "step": 1}, "Extra inputs are not permitted"),
        ({"choices": [1, 2], "low": 1}, "Extra inputs are not permitted"),
    ],
)
def test_search_space_is_refused_with_the_reason(space: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Candidate.model_validate({"search": {"depth": space}})


@pytest.mark.parametrize(
    ("space", "read"),
    [
        ({"low": 1, "high": 10}, IntRange(low=1, high=10)),
        ({"low": 1, "high": 10, "log": True}, IntRange(low=1, high=10, log=True)),
        ({"low": 1.0, "high": 10.0}, FloatRange(low=1.0, high=10.0)),
        ({"low": 1, "high": 10.0}, FloatRange(low=1.0, high=10.0)),
        ({"low": 1, "high": 2.5}, FloatRange(low=1.0, high=2.5)),
    ],
)
def test_range_of_whole_numbers_is_one_only_when_written_so(
    space: dict[str, Any], read: FloatRange
) -> None:
    search = Candidate.model_validate({"search": {"depth": space}}).search
    assert search is not None
    assert (type(search["depth"]), search["depth"]) == (type(read), read)


def test_plan_reads_its_own_dump() -> None:
    read = plan("candidates: {xgboost: {search: {gamma: {choices: [null, 1]}}}, random_forest: }")
    assert Training.model_validate_json(read.model_dump_json()) == read
