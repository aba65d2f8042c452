"""``mlops erase``: removes whom rows are about from every batch, and names what was made of them.

A tombstone in the ledger comes first; from then on ``raw`` leaves their rows out. It names row
numbers, so that a command that was killed finds again what is left, also where the rows themselves
are gone. Of a batch the raw rows are written anew first, the old raw file goes last: whenever the
batch is ingested in between, it is without them. The other rows keep their numbers, and so their
side of the split.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.digests import file_digest, short
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.personal_data import erasure
from mlops_assets.lib.personal_data.erasure import Erased
from mlops_assets.lib.personal_data.privacy import Privacy
from mlops_assets.lib.reading.raw_table import MALFORMED, ROW
from mlops_assets.lib.reading.table import restrict
from mlops_assets.lib.records.batches import Batches, Receipt
from mlops_assets.lib.records.ledger import Ledger, champion, last_decision
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.training_set.files import ROWS
from mlops_assets.operations.prune import BusyError, is_of
from mlops_assets.operations.versions import numbers

# Text as it landed, in which the id itself is looked for; the rest has ids of rows.
LANDED = ("raw", "quarantine")
BY_ROW = ("validated", "features")
# What a folder named by a digest says about each row, by kind.
OF_ROWS = {"training_sets": ROWS, "candidates": "predictions.parquet", "bundles": "golden.parquet"}
REMOVED = ("training_sets", "candidates")
MADE_OF_BATCHES = ("raw", "validated", "quarantine", "features", "predictions", *REMOVED)


class NobodyError(ValueError):
    """No batch has a row of this entity."""


class LeftError(ValueError):
    """Rows are left, since something was made of them meanwhile; the message says what to do."""


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


def erase(
    store: Storage,
    spec: UseCase,
    instance: dg.DagsterInstance | None,
    entity: str,
    *,
    actor: str,
    reason: str,
    in_advance: bool = False,
) -> Iterator[str]:
    """Erase whom rows are about. Called again, it goes on where it was killed.

    Args:
        store: The storage root.
        spec: The use case.
        instance: Dagster's records, or None where nothing has run yet.
        entity: As the entity's column of a landed file has it.
        actor: Who decides.
        reason: Why, in a line. It must not say who it is.
        in_advance: Write the tombstone although no batch has a row yet.

    Yields:
        A sentence for each thing that was done, or has to be known.

    Raises:
        ValueError: If the contract has no entity, the id is empty, or no reason is given.
        NobodyError: If no batch has a row; nothing is written.
        BusyError: If runs are at work, after the tombstone was written.
        LeftError: If rows are there again at the end.
    """
    entity, reason = entity.strip(), " ".join(reason.split())
    if not entity or not reason:
        raise ValueError("say who, and why in a line: the reason goes into the ledger")
    if entity in reason:
        raise ValueError("the reason names the entity: the ledger keeps it for ever")
    yield from _Erasing(store, spec, instance, entity).run(actor, reason, in_advance)


class _Erasing:
    def __init__(
        self, store: Storage, spec: UseCase, instance: dg.DagsterInstance | None, entity: str
    ) -> None:
        self.store = store
        self.spec = spec
        self.instance = instance
        self.entity = entity
        self.batches = Batches(store, spec.name)
        self.ledger = Ledger(store, spec.name)
        self.marks = erasure.marks(store, spec.name, spec.contract, entity)
        self.them = erasure.those(store, spec.name, spec.contract, self.marks)
        self.receipts = {short(receipt.digest): receipt for receipt in self.batches.receipts()}

    def run(self, actor: str, reason: str, in_advance: bool) -> Iterator[str]:
        self.ledger.verify()
        found = self._look()
        if not (found.rows or self._tombstones() or in_advance):
            raise NobodyError(
                f"{self.spec.name}: no batch has a row of this entity, and nothing was written; "
                "--in-advance leaves it out of what lands from now on"
            )
        if self._is_news(found):
            entry = self.ledger.append("erased", self._facts(found, actor, reason))
            yield f"entry {entry['sequence']} of the ledger is the tombstone; it does not say who"
        # A run that began before the tombstone has not seen it.
        self._refuse_busy("the tombstone is written")
        for key, rows in self._recorded().items():
            said = f"batch {key}: {len(rows)} rows" if rows else f"batch {key}: malformed lines"
            yield f"{said} of this entity"
        yield from self._remove(found)

        left = self._look()
        if not left.is_clean:
            raise LeftError(
                f"{self.spec.name}: {', '.join(left.files) or 'training sets'} hold rows of them, "
                "written by a run that began before the tombstone: run the command again"
            )
        self._refuse_busy("nothing was left just now")
        yield "nothing of them is left in batches, training sets and candidates"
        yield from self._what_stays(left)

    def _tombstones(self) -> list[dict[str, Any]]:
        mine = erasure.tombstones(self.store, self.spec.name)
        return [entry for entry in mine if set(entry["entity"]) & set(self.marks)]

    def _recorded(self) -> dict[str, list[int]]:
        """Row numbers by batch, of every tombstone of the entity."""
        rows: dict[str, set[int]] = {}
        for entry in self._tombstones():
            for key, found in entry["rows"].items():
                rows.setdefault(key, set()).update(found)
        return {key: sorted(found) for key, found in rows.items()}

    def _is_news(self, found: Found) -> bool:
        known = self._recorded()
        new = any(set(rows) - set(known.get(key, [])) for key, rows in found.rows.items())
        return new or not self._tombstones() or not found.rows.keys() <= known.keys()

    def _facts(self, found: Found, actor: str, reason: str) -> dict[str, Any]:
        return {
            "entity": self.marks,
            "actor": actor,
            "reasons": [reason],
            "rows": found.rows,
            **{kind: sorted(found.folders[kind]) for kind in REMOVED},
        }

    def _refuse_busy(self, so_far: str) -> None:
        if self.instance is None:
            return
        records = self.instance.get_run_records()
        runs = [r.dagster_run for r in records if is_of(self.spec.name, r.dagster_run)]
        busy = [run.run_id[:8] for run in runs if not run.is_finished]
        if busy:
            raise BusyError(
                f"{self.spec.name}: {so_far}, but {len(busy)} runs are queued or at work "
                f"({', '.join(busy[:3])}) and may hold rows of them: when they have ended, run the "
                "command again"
            )

    # Finding

    def _look(self) -> Found:
        found = Found()
        known = self._recorded()
        for kind in LANDED:
            for name in self.store.list(f"{self.spec.name}/{kind}"):
                key = f"{self.spec.name}/{kind}/{name}"
                receipt = self._receipt(kind, name)
                rows, is_named = _search(self.store.local(key), self.them, self.entity)
                if not rows and not is_named:
                    continue
                found.files.append(key)
                if receipt is not None:
                    before = found.rows.get(receipt.key, [])
                    found.rows[receipt.key] = sorted({*before, *rows})
        every = {key: {*known.get(key, []), *found.rows.get(key, [])} for key in found.rows | known}
        ids = [f"{key.rsplit('-', 1)[-1]}-{row}" for key, rows in every.items() for row in rows]
        for key in every:
            found.files += self._files_by_row(key, ids)
        for kind, file in OF_ROWS.items():
            found.folders[kind] = {}
            for digest in self.store.list(f"{self.spec.name}/{kind}"):
                count = self._count(f"{self.spec.name}/{kind}/{digest}/{file}", ids)
                if count:
                    found.folders[kind][digest] = count
        return found

    def _receipt(self, kind: str, name: str) -> Receipt | None:
        if kind == "raw":
            return self.receipts.get(name[:12])
        matches = (r for r in self.receipts.values() if _is_of_batch(name, r.key))
        return next(matches, None)

    def _files_by_row(self, batch: str, ids: list[str]) -> Iterator[str]:
        for kind in BY_ROW:
            for name in self._names(kind, batch):
                if self._count(f"{self.spec.name}/{kind}/{name}", ids):
                    yield f"{self.spec.name}/{kind}/{name}"
        for name in self._names("predictions", batch):
            folder = f"{self.spec.name}/predictions/{name}"
            parts = [part for part in self.store.list(folder) if part.endswith(".parquet")]
            if any(self._count(f"{folder}/{part}", ids) for part in parts):
                yield folder

    def _count(self, key: str, ids: list[str]) -> int:
        """How many rows of a file have one of these ids."""
        import duckdb

        if not ids or not self.store.exists(key):
            return 0
        query = "select count(*) from read_parquet(?) where row_id in (select unnest(?))"
        with duckdb.connect() as database:
            path = literal(self.store.local(key))
            found = database.execute(query, [path, ids]).fetchone()
        assert found is not None
        return int(found[0])

    def _names(self, kind: str, batch: str) -> list[str]:
        names = self.store.list(f"{self.spec.name}/{kind}")
        return [name for name in names if _is_of_batch(name, batch)]

    # Removing

    def _remove(self, found: Found) -> Iterator[str]:
        for kind in MADE_OF_BATCHES:
            for key in self.store.leftovers(f"{self.spec.name}/{kind}"):
                self.store.remove(key)
        for kind in REMOVED:
            for digest in found.folders[kind]:
                self.store.remove(f"{self.spec.name}/{kind}/{digest}")
            if found.folders[kind]:
                shown = ", ".join(map(short, found.folders[kind]))
                yield f"{len(found.folders[kind])} {kind.replace('_', ' ')} removed: {shown}"
        old = [key for key in found.files if key.startswith(f"{self.spec.name}/raw/")]
        for key in old:
            self._rewrite_raw(key)
        made = [key for key in found.files if key not in old]
        for batch in self._recorded():
            self._unpoint(batch, made)
        for key in made:
            self.store.remove(key)
        for batch in self._recorded():
            yield from self._forget_landed(batch)
        # Last: as long as they are there, a second run finds what is left.
        for key in old:
            self.store.remove(key)

    def _rewrite_raw(self, key: str) -> None:
        """Point a batch to its raw rows without those of erased entities, if it points here."""
        receipt = self._receipt("raw", key.rsplit("/", 1)[-1])
        pointer = receipt and self.batches.pointer(receipt.key, "raw")
        if receipt is None or not pointer or pointer["file"] != key:
            return
        everybody = erasure.everybody(self.store, self.spec.name, self.spec.contract)
        with tempfile.TemporaryDirectory() as scratch:
            local = Path(scratch) / "raw.parquet"
            source = self.store.verified(key, pointer["digest"])
            less = restrict(source, local, Privacy(erased=everybody))
            digest = file_digest(local)
            file = f"{self.spec.name}/raw/{short(receipt.digest)}-{short(digest)}.parquet"
            self.store.publish(local, file)
        changed = {
            "digest": digest,
            "file": file,
            "rows": less.rows,
            "erased": pointer.get("erased", 0) + less.erased,
            "rewritten": pointer.get("rewritten", 0) + 1,
        }
        self.batches.point(receipt.key, "raw", {**pointer, **changed})

    def _unpoint(self, batch: str, going: Iterable[str]) -> None:
        for stage in ("validated", "features", "predictions"):
            pointer = self.batches.pointer(batch, stage) or {}
            if {pointer.get(name) for name in ("file", "quarantine", "folder")} & set(going):
                self.batches.unpoint(batch, stage)

    def _forget_landed(self, batch: str) -> Iterator[str]:
        receipt = self.batches.receipt(batch)
        assert receipt is not None
        if self.batches.forget(receipt):
            yield f"the landed file {receipt.name} held rows of them and was removed"
        elif self.batches.landed(receipt) is not None:
            yield f"{receipt.path} holds rows of them outside the landing place: remove it"

    # Saying

    def _what_stays(self, left: Found) -> Iterator[str]:
        entries, known = self.ledger.entries(), numbers(self.store, self.spec.name)
        sets = {digest for entry in self._tombstones() for digest in entry["training_sets"]}
        trained = False
        for digest in self.store.list(f"{self.spec.name}/bundles"):
            manifest = self._manifest(digest)
            golden = left.folders["bundles"].get(digest, 0)
            if manifest["lineage"]["training_set"] not in sets and not golden:
                continue
            trained = True
            last = last_decision(entries, digest)
            state = last["decision"] if last else "undecided"
            if (champion(entries) or {}).get("bundle") == digest:
                state = "the champion"
            said = f"version {known.get(digest, 'without a number')} (bundle {short(digest)}, "
            said += f"{state}) was trained on rows of them"
            if golden:
                said += (
                    f", and {golden} of its golden rows are theirs (inputs, without identifiers)"
                )
            yield said
        if trained:
            keep = self.spec.retention
            yield (
                "such a version answers as before until a new one is promoted: retrain; `mlops "
                f"prune` removes it once it is none of the last {keep.champions} champions and "
                f"{keep.days:g} days old, and MLflow's copy of it (golden rows, and a score by row "
                "number) with its run"
            )
        if self._recorded():
            yield (
                "Dagster's records of the runs that ingested these batches may show rows of them "
                "(the first ones in quarantine): `mlops prune` removes runs older than "
                f"{self.spec.retention.days_of_runs:g} days"
            )
        if "://" in self.store.root:
            yield "copies of the bucket in the cache of a machine go a day after their last use"
        unread = [
            receipt.name
            for receipt in self.batches.receipts()
            if self.batches.pointer(receipt.key, "raw") is None and self.batches.is_there(receipt)
        ]
        if unread:
            yield f"landed and not read, so not looked through: {', '.join(unread)}"

    def _manifest(self, digest: str) -> Mapping[str, Any]:
        path = f"{self.spec.name}/bundles/{digest}/manifest.json"
        return self.store.read_json(path) or {"lineage": {"training_set": None}}


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
