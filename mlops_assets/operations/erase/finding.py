"""Finding what holds rows of somebody: text as it landed by the id, all else by row number."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mlops_assets.lib.parquet import literal
from mlops_assets.lib.personal_data.erasure import Erased
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.raw_table import MALFORMED, ROW
from mlops_assets.lib.records.batches import Receipt
from mlops_assets.lib.training_set.files import ROWS
from mlops_assets.operations.erase.case import Case

# Text as it landed, in which the id itself is looked for; the rest has ids of rows.
LANDED = ("raw", "quarantine")
BY_ROW = ("validated", "features")
# What a folder named by a digest says about each row, by kind.
OF_ROWS = {"training_sets": ROWS, "candidates": "predictions.parquet", "bundles": "golden.parquet"}
REMOVED = ("training_sets", "candidates")


@dataclass
class Found:
    """What holds rows of the entity.

    Attributes:
        rows: Their numbers by batch, from the text as it landed; none where only the text of a
            malformed line names the entity.
        files: Keys of files and folders of batches.
        folders: Rows by digest, by kind (``OF_ROWS``).
    """

    rows: dict[str, list[int]] = field(default_factory=dict)
    files: list[str] = field(default_factory=list)
    folders: dict[str, dict[str, int]] = field(default_factory=dict)

    @property
    def is_clean(self) -> bool:
        """Whether nothing is left that can be removed."""
        return not self.files and not any(self.folders[kind] for kind in REMOVED)


def look(case: Case) -> Found:
    """Look through everything that is made of batches."""
    found = Found()
    known = case.recorded()
    for kind in LANDED:
        for name in case.store.list(f"{case.spec.name}/{kind}"):
            key = f"{case.spec.name}/{kind}/{name}"
            receipt = _receipt(case, kind, name)
            rows, is_named = _search(case.store.local(key), case.them, case.entity)
            if not rows and not is_named:
                continue
            found.files.append(key)
            if receipt is not None:
                before = found.rows.get(receipt.key, [])
                found.rows[receipt.key] = sorted({*before, *rows})
    every = {key: {*known.get(key, []), *found.rows.get(key, [])} for key in found.rows | known}
    ids = [f"{key.rsplit('-', 1)[-1]}-{row}" for key, rows in every.items() for row in rows]
    for key in every:
        found.files += _files_by_row(case, key, ids)
    for kind, file in OF_ROWS.items():
        found.folders[kind] = {}
        for digest in case.store.list(f"{case.spec.name}/{kind}"):
            count = _count(case, f"{case.spec.name}/{kind}/{digest}/{file}", ids)
            if count:
                found.folders[kind][digest] = count
    return found


def _receipt(case: Case, kind: str, name: str) -> Receipt | None:
    if kind == "raw":
        return case.receipt_of_raw(name)
    matches = (r for r in case.receipts.values() if _is_of_batch(name, r.key))
    return next(matches, None)


def _files_by_row(case: Case, batch: str, ids: list[str]) -> Iterator[str]:
    for kind in BY_ROW:
        for name in _names(case, kind, batch):
            if _count(case, f"{case.spec.name}/{kind}/{name}", ids):
                yield f"{case.spec.name}/{kind}/{name}"
    for name in _names(case, "predictions", batch):
        folder = f"{case.spec.name}/predictions/{name}"
        parts = [part for part in case.store.list(folder) if part.endswith(".parquet")]
        if any(_count(case, f"{folder}/{part}", ids) for part in parts):
            yield folder


def _count(case: Case, key: str, ids: list[str]) -> int:
    """How many rows of a file have one of these ids."""
    import duckdb

    if not ids or not case.store.exists(key):
        return 0
    query = "select count(*) from read_parquet(?) where row_id in (select unnest(?))"
    with duckdb.connect() as database:
        path = literal(case.store.local(key))
        found = database.execute(query, [path, ids]).fetchone()
    assert found is not None
    return int(found[0])


def _names(case: Case, kind: str, batch: str) -> list[str]:
    names = case.store.list(f"{case.spec.name}/{kind}")
    return [name for name in names if _is_of_batch(name, batch)]


def _is_of_batch(name: str, batch: str) -> bool:
    """Whether a file or folder is named by a batch and the digest of what it is made of."""
    return re.fullmatch(rf"{re.escape(batch)}-[0-9a-f]{{12}}(\.parquet)?", name) is not None


def _search(path: Path, them: Erased, entity: str) -> tuple[list[int], bool]:
    """Look through text as it landed.

    Returns:
        The numbers of their rows, and whether the text of a malformed line names the entity.
    """
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    word = re.compile(rf"(?<!\w){re.escape(entity)}(?!\w)")
    nothing = Privacy()
    rows: list[int] = []
    is_named = False
    with pq.ParquetFile(path) as file:
        here = sorted(them.headers & set(file.schema_arrow.names))
        for batch in file.iter_batches(columns=[ROW, MALFORMED, *here]):
            theirs = them.among({name: batch[name] for name in here})
            if theirs is not None:
                rows += batch[ROW].filter(theirs).to_pylist()
            for text in pc.drop_null(batch[MALFORMED]).to_pylist():
                said = nothing.without_text(text) or ""
                is_named = is_named or word.search(text.removeprefix(said)) is not None
    return rows, is_named
