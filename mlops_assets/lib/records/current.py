"""Which training set, candidates, evaluation and registered version are current."""

from collections.abc import Mapping
from typing import Any

from mlops_assets.lib.storage.root import Storage


def read(storage: Storage, use_case: str, stage: str) -> dict[str, Any] | None:
    """The record of a stage, or None where it has not been made."""
    return storage.read_json(f"{use_case}/current/{stage}.json")


def write(storage: Storage, use_case: str, stage: str, record: Mapping[str, Any]) -> None:
    """Make a record the current one of its stage."""
    storage.write_json(f"{use_case}/current/{stage}.json", record)
