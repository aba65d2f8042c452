"""Erasure: whose rows are left out wherever rows are read, told by digests that name nobody.

The ledger keeps a tombstone of each erased entity: HMAC-SHA256 digests of its id, keyed with a salt
of the use case that lies in the storage, outside the ledger. Whoever sees the ledger alone, shown,
exported or mailed, cannot find out who it was, not even by trying every possible id. Whoever reads
the whole storage can, where ids are few: the salt has to stay, since a batch with the person in it
may land years later and is told by it.

An id is looked for in the entity's column alone, as the contract reads it. A line that fits no
column could be anybody's: once somebody is erased, no text of such lines is kept.
"""

from __future__ import annotations

import math
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.personal_data.key_proof import refuse_another
from mlops_assets.lib.personal_data.pseudonyms import key_from_environment, pseudonym
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.storage.root import Storage

if TYPE_CHECKING:
    import pyarrow as pa

SALT_BYTES = 32


@dataclass(frozen=True)
class Erased:
    """Entities whose rows are left out.

    Attributes:
        headers: What the entity's column is called in landed files, those of earlier versions, too.
        is_number: Whether ``007``, ``7`` and ``7.0`` are one id.
        salt: Of the use case.
        marks: Digests of their ids.
    """

    headers: frozenset[str]
    is_number: bool
    salt: str
    marks: frozenset[str]

    def among(self, columns: Mapping[str, pa.Array]) -> pa.BooleanArray | None:
        """Which rows are theirs.

        Args:
            columns: Text by header, before or after it was hashed.

        Returns:
            A flag for each row; None where no column says whose the rows are.
        """
        import pyarrow as pa
        import pyarrow.compute as pc

        found = None
        for header in sorted(self.headers & columns.keys()):
            coded = columns[header].dictionary_encode()
            flags = [self._is_theirs(text) for text in coded.dictionary.to_pylist()]
            theirs = pa.array(flags, pa.bool_()).take(coded.indices).fill_null(False)
            found = theirs if found is None else pc.or_(found, theirs)
        return found

    def _is_theirs(self, text: str | None) -> bool:
        return text is not None and _mark(text, self.is_number, self.salt) in self.marks


def _mark(text: str, is_number: bool, salt: str) -> str:
    return pseudonym(_number(text) if is_number else text, salt)


def _number(text: str) -> str:
    """A number as one text, however a file writes it; what is none stays as it is."""
    if re.fullmatch(r"[+-]?\d+", text):
        return str(int(text))
    try:
        # A decimal comma as well: where it is none, the row breaks the contract anyway.
        value = float(text.replace(",", "."))
    except ValueError:
        return text
    if not math.isfinite(value):
        return text
    return str(int(value)) if value.is_integer() else repr(value)


def marks(storage: Storage, use_case: str, contract: Contract, entity: str) -> list[str]:
    """The digests of an id: of the id itself, and of what is written where the contract hashes it.

    Raises:
        ValueError: If the contract has no entity, or hashes it and the environment has no key, or
            another one than that of the data.
    """
    column = _column(use_case, contract)
    texts = [entity]
    if column.pii == "hash":
        key = key_from_environment()
        refuse_another(storage, use_case, key)
        texts.append(pseudonym(entity, key))
    salt, is_number = _salt(storage, use_case), _is_number(contract)
    return [_mark(text, is_number, salt) for text in texts]


def those(storage: Storage, use_case: str, contract: Contract, marked: Iterable[str]) -> Erased:
    """The entities of these digests, to look for their rows.

    Raises:
        ValueError: If the contract has no entity.
    """
    column = _column(use_case, contract)
    before = {old for old, new in contract.earlier.renamed.items() if new == column.name}
    headers = frozenset({column.landed_name, *before})
    return Erased(headers, _is_number(contract), _salt(storage, use_case), frozenset(marked))


def everybody(storage: Storage, use_case: str, contract: Contract) -> Erased | None:
    """Every entity with a tombstone, or None where nobody was erased.

    Raises:
        ValueError: If there are tombstones and the contract has no entity any more, or the salt is
            gone: rows of theirs could not be told, so none are read.
    """
    found = {mark for entry in tombstones(storage, use_case) for mark in entry["entity"]}
    if not found:
        return None
    if not storage.exists(_key(use_case)):
        raise ValueError(
            f"{use_case}: {_key(use_case)} is gone, by which rows of erased entities are told; "
            "bring it back from a backup of the storage"
        )
    return those(storage, use_case, contract, found)


def tombstones(storage: Storage, use_case: str) -> list[dict[str, Any]]:
    """The ledger's entries about erased entities.

    Each has ``entity`` (digests), ``rows`` (numbers by batch) and ``training_sets`` (digests).
    """
    entries = Ledger(storage, use_case).entries()
    return [entry for entry in entries if entry["decision"] == "erased"]


def made_of_erased(
    storage: Storage, use_case: str, batches: Iterable[Mapping[str, str]]
) -> list[str]:
    """Which batches were read before rows of theirs were erased.

    Args:
        storage: The storage root.
        use_case: Whose batches.
        batches: Of a version's lineage: ``key`` and the digest of ``raw``.

    Returns:
        A sentence a batch; none where all that was read is still what is there.
    """
    known, told = Batches(storage, use_case), []
    for entry in tombstones(storage, use_case):
        for batch in batches:
            now = known.pointer(batch["key"], "raw")
            if entry["rows"].get(batch["key"]) and (now is None or now["digest"] != batch["raw"]):
                told.append(
                    f"rows of batch {batch['key']} were erased (entry {entry['sequence']}) after "
                    "they were read"
                )
    return told


def _column(use_case: str, contract: Contract) -> Any:
    if contract.entity is None:
        raise ValueError(
            f"{use_case}: its contract has no `entity`, the column that says whom a row is about, "
            "so nobody's rows can be told"
        )
    return next(column for column in contract.columns if column.name == contract.entity)


def _is_number(contract: Contract) -> bool:
    types = {column.name: column.duckdb_type for column in contract.columns}
    return types[str(contract.entity)] in ("BIGINT", "DOUBLE")


def _key(use_case: str) -> str:
    return f"{use_case}/erasure/salt.json"


def _salt(storage: Storage, use_case: str) -> str:
    """The salt of a use case; whoever comes first makes it."""
    if not storage.exists(_key(use_case)):
        storage.create_json(_key(use_case), {"salt": secrets.token_hex(SALT_BYTES)})
    record = storage.read_json(_key(use_case))
    assert record is not None
    return str(record["salt"])
