from dataclasses import dataclass

import pytest

from mlops_assets.lib.storage.root import Storage
from tests.lib.comparison.versions import Version, batch, register


@dataclass(frozen=True)
class Contest:
    """A champion of one batch, and a challenger of that and another. Tests change nothing."""

    store: Storage
    champion: Version
    challenger: Version


@pytest.fixture(scope="session")
def contest(tmp_path_factory: pytest.TempPathFactory) -> Contest:
    folder = tmp_path_factory.mktemp("contest")
    store = Storage(folder / "root")
    one, two = batch(folder, "one", 400, 1), batch(folder, "two", 300, 2)
    return Contest(store, register(store, [one]), register(store, [one, two], "xgboost"))
