from collections.abc import Iterator

import pytest

from mlops_assets.alerting.channels import FILE_VARIABLE, VARIABLE
from tests.alerting.receivers import Webhook, webhook


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test tells whoever this machine's alerts go to."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.delenv(FILE_VARIABLE, raising=False)


@pytest.fixture
def hook() -> Iterator[Webhook]:
    with webhook() as made:
        yield made
