"""The parameters that each algorithm has: a wrong name is a mistake of the spec, known at once.

They are written down, since importing the libraries takes seconds and every process reads specs. A
test holds the table against the libraries.
"""

from difflib import get_close_matches


def _names(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


_TREES = (
    "class_weight max_depth max_features max_leaf_nodes min_samples_leaf monotonic_cst "
    "random_state verbose warm_start"
)
PARAMETERS: dict[str, frozenset[str]] = {
    "logistic_regression": _names(
        "C class_weight dual fit_intercept intercept_scaling l1_ratio max_iter n_jobs penalty",
        "random_state solver tol verbose warm_start",
    ),
    "random_forest": _names(
        _TREES,
        "bootstrap ccp_alpha criterion max_samples min_impurity_decrease min_samples_split",
        "min_weight_fraction_leaf n_estimators n_jobs oob_score",
    ),
    "gradient_boosting": _names(
        _TREES,
        "categorical_features early_stopping interaction_cst l2_regularization learning_rate loss",
        "max_bins max_iter n_iter_no_change scoring tol validation_fraction",
    ),
    "xgboost": _names(
        # `class_weight` is ours: it becomes `scale_pos_weight`.
        "class_weight",
        "base_score booster callbacks colsample_bylevel colsample_bynode colsample_bytree device",
        "early_stopping_rounds enable_categorical eval_metric feature_types feature_weights gamma",
        "grow_policy importance_type interaction_constraints learning_rate max_bin",
        "max_cat_threshold max_cat_to_onehot max_delta_step max_depth max_leaves min_child_weight",
        "missing monotone_constraints multi_strategy n_estimators n_jobs num_parallel_tree",
        "objective random_state reg_alpha reg_lambda sampling_method scale_pos_weight subsample",
        "tree_method validate_parameters verbosity",
    ),
}


def unknown_parameter(algorithm: str, name: str) -> str | None:
    """Why an algorithm has no such parameter, with the name that is nearest; None if it has."""
    known = PARAMETERS.get(algorithm, frozenset())
    if name in known:
        return None
    if not known:
        return f"{algorithm} is made of the others and has no parameters of its own"
    near = get_close_matches(name, sorted(known), 1)
    meant = f"{near[0]} is meant?" if near else f"there are: {', '.join(sorted(known))}"
    return f"{algorithm} has no parameter {name!r}; {meant}"
