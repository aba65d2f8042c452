"""Every version of the data: what there is by digest, what it is made of, what was made of it.

The records are read as they lie in the storage; nothing is written but an export.
"""

import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from mlops_assets.instance import has_instance, open_instance
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.history import standing, withdrawn
from mlops_assets.lib.records.ledger import DATA_DECISIONS, Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.lib.synthetic.origin import best_auc
from mlops_assets.lib.training_set.files import ROWS
from mlops_assets.operations.versions import numbers

Kind = Literal["batch", "training set", "bundle"]
STAGES = ("raw", "validated", "features")
FORMATS = {".parquet": "format parquet, compression zstd", ".csv": "format csv, header"}
LEAST_CHARACTERS = 4
SHOWN = 12


class UnknownDataError(ValueError):
    """Nothing, or several things, are meant; the message names the candidates."""


@dataclass(frozen=True)
class Named:
    """One thing that a digest or a key stands for.

    Attributes:
        name: Key of a batch, digest of the others.
        stage: Of a batch, where the digest is that of its file.
    """

    kind: Kind
    name: str
    stage: str | None = None


class Catalogue:
    """The data of one use case."""

    def __init__(self, store: Storage, spec: UseCase, states: Mapping[str, str]) -> None:
        """Look at nothing yet.

        Args:
            store: The storage root.
            spec: The use case.
            states: ``accepted``, ``refused``, ``outstanding`` or ``withdrawn`` by batch key.
        """
        self.store = store
        self.name = spec.name
        self.states = states
        self.batches = Batches(store, spec.name)
        self.entries = Ledger(store, spec.name).entries()

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """Every batch, training set and bundle, as JSON-compatible values.

        Returns:
            ``batches``, ``training_sets`` and ``bundles``, each with ``digest``, ``rows``, ``when``
            and ``state``, first made first as far as the ledger knows.
        """
        return {
            "batches": [self._batch(receipt.key) for receipt in self.batches.receipts()],
            "training_sets": self._in_order("training_sets", self._training_set),
            "bundles": self._in_order("bundles", self._bundle),
        }

    def _in_order(self, kind: str, describe: Any) -> list[dict[str, Any]]:
        found = [describe(digest) for digest in self.store.list(f"{self.name}/{kind}")]
        return sorted(found, key=lambda each: (each["when"] or "~", each["digest"]))

    def _batch(self, key: str) -> dict[str, Any]:
        receipt = self.batches.receipt(key)
        assert receipt is not None
        pointers = {stage: self.batches.pointer(key, stage) or {} for stage in STAGES}
        return {
            "key": key,
            "name": receipt.name,
            "digest": receipt.digest,
            "rows": pointers["raw"].get("rows"),
            "valid_rows": pointers["validated"].get("rows"),
            "contract_version": pointers["validated"].get("contract_version"),
            "when": receipt.landed_at,
            "state": self.states.get(key, "outstanding"),
            "digests": {stage: pointer.get("digest") for stage, pointer in pointers.items()},
        }

    def _training_set(self, digest: str) -> dict[str, Any]:
        import pyarrow.parquet as pq

        path = self.store.local(f"{self.name}/training_sets/{digest}/{ROWS}")
        first = next((e for e in self.entries if e.get("training_set") == digest), None)
        return {
            "digest": digest,
            "rows": pq.read_metadata(path).num_rows,
            "when": first and first["time"],
            "state": "accepted" if first else "undecided",
        }

    def _manifest(self, digest: str) -> dict[str, Any]:
        return self.store.read_json(f"{self.name}/bundles/{digest}/manifest.json") or {}

    def _bundle(self, digest: str) -> dict[str, Any]:
        about = [
            entry
            for entry in self.entries
            if entry["decision"] not in DATA_DECISIONS and entry.get("bundle") == digest
        ]
        lineage = self._manifest(digest).get("lineage", {})
        return {
            "digest": digest,
            "version": numbers(self.store, self.name).get(digest),
            "rows": self._rows_of(lineage.get("training_set")),
            "when": about[0]["time"] if about else None,
            "state": standing(self.entries)[digest][1] if about else "undecided",
        }

    def _rows_of(self, training_set: str | None) -> int | None:
        there = training_set in self.store.list(f"{self.name}/training_sets")
        return int(self._training_set(training_set)["rows"]) if training_set and there else None

    def find(self, text: str) -> Named:
        """What a key, a digest or the start of one stands for.

        Raises:
            UnknownDataError: If it is nothing or several things.
        """
        found = {
            named: name
            for name, named in self._names()
            if name == text or (len(text) >= LEAST_CHARACTERS and name.startswith(text))
        }
        things = {(named.kind, named.name) for named in found}
        if len(things) == 1:
            # A key stands for the batch; only the digest of a file stands for a stage of it.
            return min(found, key=lambda named: named.stage or "")
        if not things:
            raise UnknownDataError(
                f"{self.name} has no batch, training set or bundle {text!r} (a key or a digest, or "
                f"at least its first {LEAST_CHARACTERS} characters): see `mlops data list`"
            )
        shown = sorted(f"{kind} {name[:40]}" for kind, name in things)
        raise UnknownDataError(f"{text!r} stands for {', '.join(shown)}: give more of it")

    def _names(self) -> Iterator[tuple[str, Named]]:
        for receipt in self.batches.receipts():
            batch = Named("batch", receipt.key)
            yield from ((name, batch) for name in (receipt.key, receipt.digest, receipt.content))
            for stage in STAGES:
                pointer = self.batches.pointer(receipt.key, stage)
                if pointer is not None:
                    yield pointer["digest"], Named("batch", receipt.key, stage)
        for digest in self.store.list(f"{self.name}/training_sets"):
            yield digest, Named("training set", digest)
        for digest in self.store.list(f"{self.name}/bundles"):
            yield digest, Named("bundle", digest)

    def show(self, text: str) -> dict[str, Any]:
        """One thing with its lineage in both directions.

        Returns:
            Its facts, ``made_of`` and ``used_by``; the best ROC AUC that a model can reach where
            the rows were generated.

        Raises:
            UnknownDataError: See ``find``.
        """
        named = self.find(text)
        if named.kind == "batch":
            facts, made_of, keys = self._batch(named.name), [], [named.name]
            sets = [
                digest
                for digest in self.store.list(f"{self.name}/training_sets")
                if named.name in self._batches_of(digest)
            ]
            used_by = [f"training set {digest}" for digest in sets]
            used_by += [v for digest in sets for v in self._versions_of(digest)]
        elif named.kind == "training set":
            facts = self._training_set(named.name)
            rows = self._batches_of(named.name)
            keys = list(rows)
            made_of = [f"batch {key}: {count} rows" for key, count in rows.items()]
            used_by = self._versions_of(named.name)
        else:
            facts = self._bundle(named.name)
            lineage = self._manifest(named.name)["lineage"]
            facts["algorithm"] = lineage["algorithm"]
            facts["contract_version"] = lineage["contract"]["version"]
            keys = [batch["key"] for batch in lineage["batches"]]
            made_of = [f"training set {lineage['training_set']}"]
            made_of += [f"batch {batch['key']}" for batch in lineage["batches"]]
            used_by = [
                f"entry {entry['sequence']} of the ledger: {entry['decision']}"
                for entry in self.entries
                if entry.get("bundle") == named.name
            ]
        best = best_auc(self.store, self.name, keys)
        if best is not None:
            facts["best_reachable_roc_auc"] = round(best, 4)
        return {"kind": named.kind, **facts, "made_of": made_of, "used_by": used_by}

    def _batches_of(self, training_set: str) -> dict[str, int]:
        """Rows by batch."""
        import duckdb

        path = self.store.local(f"{self.name}/training_sets/{training_set}/{ROWS}")
        query = "select batch, count(*) from read_parquet(?) group by 1 order by 1"
        with duckdb.connect() as database:
            return dict(database.execute(query, [literal(path)]).fetchall())

    def _versions_of(self, training_set: str) -> list[str]:
        known = numbers(self.store, self.name)
        return [
            f"version {known.get(digest, 'without a number')} (bundle {digest})"
            for digest in self.store.list(f"{self.name}/bundles")
            if self._manifest(digest).get("lineage", {}).get("training_set") == training_set
        ]

    def export(self, text: str, file: Path, stage: str | None) -> int:
        """Write the rows of a batch or of a training set to a file; all of it or nothing.

        Args:
            text: See ``find``.
            file: Ends in ``.parquet`` or ``.csv``.
            stage: Of a batch: ``raw``, ``validated`` or ``features``. Without it the one whose
                digest was given, else the valid rows.

        Returns:
            How many rows were written.

        Raises:
            UnknownDataError: See ``find``; or if it has no such rows.
            ValueError: If the file has another suffix.
            OSError: If the file cannot be written.
        """
        import duckdb

        how = FORMATS.get(file.suffix)
        if how is None:
            raise ValueError(f"{file}: a file ends in {' or '.join(FORMATS)}")
        if not file.parent.is_dir():
            raise FileNotFoundError(f"{file}: there is no folder {file.parent}")
        source = self._rows(self.find(text), stage)
        partial = file.with_name(f".{uuid.uuid4().hex}{file.suffix}")
        quoted = str(partial).replace("'", "''")
        try:
            with duckdb.connect() as database:
                done = database.execute(
                    f"copy (from read_parquet(?)) to '{quoted}' ({how})", [literal(source)]
                ).fetchone()
            partial.replace(file)
        except duckdb.IOException as error:
            said = str(error).removeprefix("IO Error: ").splitlines()[0]
            raise OSError(f"{file}: {said.replace(str(partial), str(file))}") from None
        finally:
            partial.unlink(missing_ok=True)
        assert done is not None
        return int(done[0])

    def _rows(self, named: Named, stage: str | None) -> Path:
        if named.kind == "bundle":
            raise UnknownDataError(
                f"bundle {named.name[:SHOWN]} is a folder of a model and not of rows; export the "
                "training set that it is made of"
            )
        if named.kind == "training set":
            return self.store.local(f"{self.name}/training_sets/{named.name}/{ROWS}")
        stage = stage or named.stage or "validated"
        pointer = self.batches.pointer(named.name, stage) or {}
        if pointer.get("file") is None:
            raise UnknownDataError(f"batch {named.name} has no {stage} rows")
        return self.store.verified(pointer["file"], pointer["digest"])


def states(store: Storage, spec: UseCase) -> dict[str, str]:
    """How far each batch has come, by what Dagster's checks and the ledger say."""
    batches = Batches(store, spec.name)
    if not has_instance():
        return dict.fromkeys(withdrawn(Ledger(store, spec.name).entries()), "withdrawn")
    from mlops_assets.lib.features.dbt_project import feature_model, prepare
    from mlops_assets.stages.evidence import look_at_batches

    model = feature_model(prepare(spec.name, spec.contract), spec.name)
    with open_instance() as instance:
        looked = look_at_batches(instance, batches, spec, model)
    return {batch.receipt.key: batch.state for batch in looked}


def as_text(everything: Mapping[str, list[dict[str, Any]]]) -> str:
    """Everything for a person, a line each."""
    lines = []
    for kind, things in everything.items():
        lines.append(kind.replace("_", " "))
        for each in things:
            name = each.get("key") or (f"version {each['version']}" if each.get("version") else "")
            rows = "not read" if each["rows"] is None else f"{each['rows']} rows"
            when = f"{each['when'][:19]}Z" if each["when"] else "-"
            words = [each["digest"][:SHOWN], name, rows, when, each["state"]]
            lines.append("  " + "  ".join(filter(None, words)))
        if not things:
            lines.append("  none")
    return "\n".join(lines)
