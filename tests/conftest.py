import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.disk import small_disk
from tests.platform import DATA, MLFLOW_STORE, Platform, platform
from tests.postgres import Postgres
from tests.postgres import postgres as running_postgres
from tests.s3 import Seaweed
from tests.s3 import seaweed as running_seaweed
from tests.trouble import Trouble, listening

# The same examples in every run: what another run finds is found by --hypothesis-profile=search.
settings.register_profile("same", derandomize=True, deadline=None, database=None)
settings.register_profile("search", deadline=None, database=None, max_examples=500)
settings.load_profile("same")

# Files of minutes, longest first: begun last, one of them would keep one worker busy alone.
LONGEST = (
    "test_recovery.py",
    "test_demo.py",
    "test_tutorial.py",
    "test_gate_command.py",
    "test_pipeline_on_s3.py",
    "test_rollback.py",
    "test_pipeline.py",
    "test_gate.py",
    "test_s3.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the longest files begin first."""
    rank = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.fixture(autouse=True)
def no_store_of_another_test(monkeypatch: pytest.MonkeyPatch) -> None:
    """MLflow leaves the address of its store in the environment, where processes inherit it."""
    monkeypatch.delenv(MLFLOW_STORE, raising=False)


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Platform]:
    """A platform on which nothing has happened."""
    with platform(tmp_path) as made:
        yield made


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Platform]:
    """Cleveland landed, ingested, trained on and approved. Tests that share it change nothing."""
    with platform(tmp_path_factory.mktemp("trained")) as made:
        key = made.land(DATA / "heart_cleveland.csv")
        assert made.ingest(key).success
        assert made.run("retrain").success
        yield made


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes."""
    with small_disk(tmp_path / "disk") as made:
        yield made


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Seaweed]:
    """A real S3-compatible store; each test takes a bucket of its own."""
    with running_seaweed(tmp_path_factory.mktemp("seaweed")) as made:
        yield made


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A real PostgreSQL server; each test makes a table of its own."""
    with running_postgres() as made:
        yield made


@pytest.fixture(scope="session")
def bucket(seaweed: Seaweed) -> str:
    """A bucket for all who keep to a prefix: the store keeps volumes for each, and has few."""
    return seaweed.bucket()


@pytest.fixture
def s3_root(seaweed: Seaweed, bucket: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A storage root of its own in the store, for this process and those that it starts."""
    for name, value in seaweed.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLOPS_HOME", str(tmp_path / "home"))
    return f"s3://{bucket}/{uuid.uuid4().hex}/root"


@pytest.fixture
def trouble(seaweed: Seaweed, s3_root: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trouble]:
    del s3_root  # its variables, of which one is another now
    made = Trouble(seaweed.endpoint)
    with listening(made) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        yield made
