from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.sources.fetch import fetch
from mlops_assets.lib.sources.inbox import Fetched
from mlops_assets.lib.sources.spec import Source
from mlops_assets.lib.storage.root import Storage

SOURCE: TypeAdapter[Source] = TypeAdapter(Source)


class Place:
    """A landing place and the environment that sources are fetched with."""

    def __init__(self, folder: Path, environment: Mapping[str, str] | None = None) -> None:
        self.batches = Batches(Storage(folder), "tiny")
        self.environment = dict(environment or {})

    def fetch(self, **spec: Any) -> Fetched:
        return fetch(SOURCE.validate_python(spec), self.batches, self.environment)

    @property
    def landed(self) -> list[Path]:
        landing = self.batches.storage.local(self.batches.landing)
        return sorted(path for path in landing.rglob("*") if path.is_file())

    @property
    def names(self) -> list[str]:
        return sorted(path.name for path in self.landed)
