from typing import Any

import pytest
import yaml

from mlops_assets.lib.spec.specs import DEFS, load_spec
from mlops_assets.lib.spec.use_case import UseCase
from tests.lib.helpers import Trained, train_tiny


@pytest.fixture(scope="session")
def heart() -> UseCase:
    """The spec of heart disease, as it is deployed."""
    return load_spec("heart_disease")


@pytest.fixture
def heart_yaml() -> dict[str, Any]:
    """The attributes of heart disease's YAML, to be changed by a test."""
    document = yaml.safe_load((DEFS / "heart_disease" / "defs.yaml").read_text(encoding="utf-8"))
    attributes: dict[str, Any] = document["attributes"]
    return attributes


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """A training set and a candidate of a tiny use case. Tests that share it change nothing."""
    return train_tiny(tmp_path_factory.mktemp("tiny") / "trained")
