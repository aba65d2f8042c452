"""Does each algorithm take the values that a spec gives it? Asked of the libraries themselves.

They are tried together, in a fit on a few rows, since some go only with each other. Where that is
refused, the one at fault is that without which something else is said.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from typing import Any

from mlops_assets.lib.spec.spec_file import Document, SpecError
from mlops_assets.lib.spec.training_plan import STACK, Algorithm, Choice, Space, Training
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.training.algorithms import Setting, build

ROWS, FEATURES = 60, 3
# Parameters that only cost time; a fit that tries them takes no more than so many.
MANY = ("n_estimators", "max_iter")
FEW = 5
# Time and line of xgboost's source, before what it says.
LOCATION = re.compile(r"\[\d\d:\d\d:\d\d\] \S+:\d+: ")


def check_parameters(document: Document, spec: UseCase) -> None:
    """Try the values of a spec; nothing is imported for one that keeps to the usual ones.

    Raises:
        SpecError: Naming each field with a value that its library refuses, and what it says.
    """
    plan = spec.training
    mistakes = [
        document.mistake(["training", "candidates", algorithm, *path], said)
        for algorithm in plan.candidates
        if algorithm != STACK
        for path, said in _refused(plan, algorithm)
    ]
    if mistakes:
        raise SpecError(sorted(mistakes, key=lambda mistake: mistake.line))


def _refused(plan: Training, algorithm: Algorithm) -> Iterator[tuple[list[str], str]]:
    own = plan.candidates[algorithm]
    searched = {name: _ends(space) for name, space in (own.search or {}).items()}
    fields = {**dict.fromkeys(own.fixed, "fixed"), **dict.fromkeys(searched, "search")}
    tried = {**own.fixed, **{name: values[0] for name, values in searched.items()}}
    said = _said(algorithm, tried) if tried else None
    while said is not None:
        name = _guilty(algorithm, tried, said)
        if name is None:
            yield [], f"refused: {said}"
            return
        yield [fields[name], name], f"{tried.pop(name)!r} is refused: {said}"
        said = _said(algorithm, tried)
    for name in searched.keys() & tried.keys():
        for value in searched[name][1:]:
            said = _said(algorithm, {**tried, name: value})
            if said is not None:
                yield ["search", name], f"{value!r} is refused: {said}"


def _guilty(algorithm: Algorithm, tried: dict[str, Any], said: str) -> str | None:
    """The parameter without which the library is content, or at least says something else."""
    changed = None
    for name in tried:
        others = {other: value for other, value in tried.items() if other != name}
        without = _said(algorithm, others)
        if without is None:
            return name
        if without != said:
            changed = changed or name
    return changed


def _ends(space: Space) -> list[Any]:
    return space.choices if isinstance(space, Choice) else [space.low, space.high]


def _said(algorithm: Algorithm, parameters: dict[str, Any]) -> str | None:
    """What the library says against parameters, in a line; None if it takes them."""
    import numpy as np

    random = np.random.default_rng(0)
    features = random.normal(size=(ROWS, FEATURES)).astype(np.float32)
    tried = {
        name: min(value, FEW) if name in MANY and type(value) is int else value
        for name, value in parameters.items()
    }
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            model: Any = build(algorithm, tried, Setting(0, 0.5))
            model.fit(features, np.arange(ROWS) % 2)
        except Exception as error:  # whatever a library raises for a value that it does not take
            text = LOCATION.sub("", " ".join(str(error).split()))
            return text[:300] or type(error).__name__
    return None
