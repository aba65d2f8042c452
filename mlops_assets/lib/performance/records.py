"""What is kept of each judged day, for other parts. A record is replaced as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mlops_assets.lib.storage.root import DamagedError, Storage

STAGE, RECORD, ANSWERED = "performance", "record.json", "answered.parquet"


def folder(use_case: str, day: str) -> str:
    """Where the files of a day (YYYY-MM-DD) lie."""
    return f"{use_case}/{STAGE}/{day}"


def write(store: Storage, use_case: str, record: Mapping[str, Any]) -> None:
    """Keep the record of a day, which names itself as ``day``."""
    store.write_json(f"{folder(use_case, record['day'])}/{RECORD}", record)


def read(store: Storage, use_case: str, day: str) -> dict[str, Any] | None:
    """The record of a day, or None where it has not been judged, or cannot be read.

    It holds ``day`` (YYYY-MM-DD), ``at`` (ISO 8601: its beginning), ``input`` (digest of the
    answers and of the labels that belong to them), ``rows`` and ``labelled`` (answers that were
    given, shadows' not among them), ``label_lag_seconds`` (median from answer to label, or null),
    ``said`` (sentences) and ``versions``, the one with the most rows first. Of each: ``version``,
    ``role``, ``bundle``, ``rows``, ``labelled``, ``threshold``, ``mean_probability``,
    ``called_positive`` (a share), ``measured`` and ``estimated`` (by metric ``value``, ``low`` and
    ``high``; null where there is too little, which ``said`` explains), ``error`` (by metric the
    estimate of the labelled answers less their measured value), ``slices`` (as an evaluation has
    them) and ``said``.
    """
    try:
        return store.read_json(f"{folder(use_case, day)}/{RECORD}")
    except DamagedError:
        return None  # it is judged anew


def latest(store: Storage, use_case: str, most: int | None = None) -> list[dict[str, Any]]:
    """The records of the newest days, the oldest of them first."""
    days = store.list(f"{use_case}/{STAGE}")
    days = days if most is None else days[-most:]
    return [record for day in days if (record := read(store, use_case, day))]
