"""What of a landed file may be written: personal data are dropped or hashed as they are read.

With personal data in the contract, nothing that the contract does not know is kept either: a column
that nobody has declared, or the text of a line that fits no column, could be anything.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlops_assets.lib.contract.contract import Contract
from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.personal_data.erasure import Erased
from mlops_assets.lib.personal_data.pseudonyms import key_from_environment, pseudonym

if TYPE_CHECKING:
    import pyarrow as pa

SHOWN_TEXT = 500


@dataclass(frozen=True)
class Privacy:
    """What is kept of a file's columns.

    Attributes:
        kept: The columns that are written, or None for every one.
        dropped: Columns of the contract that are not.
        hashed: Those of which a keyed digest is written.
        key: Of the digests; it is shown nowhere.
        erased: Whose rows are not written at all, or None where nobody was erased.
    """

    kept: frozenset[str] | None = None
    dropped: frozenset[str] = frozenset()
    hashed: frozenset[str] = frozenset()
    key: str = ""
    erased: Erased | None = None

    @classmethod
    def of(cls, contract: Contract, erased: Erased | None = None) -> Privacy:
        """What a contract asks for, and whose rows are left out.

        Raises:
            ValueError: If it has a column to hash and the environment has no key.
        """
        if not is_personal(contract):
            return cls(erased=erased)
        by_name = {column.name: column for column in contract.columns}
        # Under the headers of earlier versions, too: their batches are read again by this one.
        before = contract.earlier.renamed
        hashed = frozenset(c.landed_name for c in contract.columns if c.pii == "hash")
        hashed |= {old for old, n in before.items() if n in by_name and by_name[n].pii == "hash"}
        kept = frozenset(column.landed_name for column in contract.every_column) | before.keys()
        dropped = frozenset(column.landed_name for column in contract.columns) - kept
        return cls(kept, dropped, hashed, key_from_environment() if hashed else "", erased)

    def keeps(self, column: str) -> bool:
        """Whether a column of the file is written."""
        return self.kept is None or column in self.kept

    def shown(self, columns: list[str]) -> str:
        """Names of a header for a message: a file without one has a person in its first line."""
        named = [column for column in columns if self.keeps(column) or column in self.dropped]
        unknown = len(columns) - len(named)
        if not unknown:
            return ", ".join(named)
        others = f"{unknown} that the contract does not know"
        return ", ".join([*named, others])

    def malformed(self, what: str, text: str) -> str:
        """Why a line is malformed, with its text where that may be written."""
        may_be_written = self.kept is None and self.erased is None
        return f"{what}: {text[:SHOWN_TEXT]}" if may_be_written else what

    def without_text(self, malformed: str | None) -> str | None:
        """The same of a line that was read when its text could be written."""
        return malformed and ": ".join(malformed.split(": ")[:2])

    def applied(self, column: str, values: pa.Array) -> pa.Array:
        """The values of a kept column as they are written; an absent one stays absent."""
        import pyarrow as pa

        if column not in self.hashed:
            return values
        coded = values.dictionary_encode()
        digests = [pseudonym(value, self.key) for value in coded.dictionary.to_pylist()]
        return pa.array(digests, pa.string()).take(coded.indices)


def is_personal(contract: Contract) -> bool:
    """Whether a contract has personal data."""
    return any(column.pii is not None for column in contract.columns)


def privacy_digest(contract: Contract) -> str | None:
    """Digest of what decides which values are written, or None where every one is."""
    if not is_personal(contract):
        return None
    treated = sorted([column.landed_name, column.pii or ""] for column in contract.columns)
    renamed = [contract.earlier.renamed] if contract.earlier.renamed else []
    return digest_of([treated, contract.target.as_column().landed_name, *renamed])
