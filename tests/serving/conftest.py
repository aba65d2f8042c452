import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():
    # dagster-dbt asks for sqlglot[rs], whose Rust tokenizer announces its own end on import.
    warnings.filterwarnings("ignore", "sqlglotrs is deprecated", DeprecationWarning)
    import sqlglot  # noqa: F401

from serving.bundle.loaded import Bundle
from tests.serving.bundles import USE_CASE, Built, make_bundle
from tests.serving.server import Server


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """A good bundle on disk; tests that use it leave it as it is."""
    return make_bundle(tmp_path_factory.mktemp("storage"))


@pytest.fixture(scope="session")
def bundle(built: Built) -> Bundle:
    return Bundle.load(built.folder, built.digest, USE_CASE)


@pytest.fixture
def start_server() -> Iterator[Callable[..., Server]]:
    """Starts real servers on free ports and stops them after the test."""
    servers: list[Server] = []

    def start(root: Path | str, **options: Any) -> Server:
        servers.append(Server(root, **options))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()
