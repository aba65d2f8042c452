"""The ledger: an append-only, hash-chained record of every decision about a model.

Each entry is one immutable file named by its number and created only if that number is free. Two
writers cannot take the same place, and a kill in the middle of a write leaves no entry at all. Each
entry carries the hash of the one before it, so that an edit, a removal or a reordering shows.
"""

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal, Protocol

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.storage.root import Storage, as_bytes

Kind = Literal[
    "approved",  # may be rolled out: by the gate, or by a person
    "rejected",
    "pending",  # the gate has nothing against it, and a person must approve
    "expired",  # nobody did in time
    "rolling_out",  # a rollout has begun, and is about to change what serves
    "expedited",  # a person wants the rest of its steps left out
    "promoted",  # it serves, and is the champion
    "aborted",  # it did not, and was taken back
    "rolled_back",  # a person wants a former champion back
    "withdrawn",
    "restored",
    "erased",
]
# Decisions about one batch.
BATCH_DECISIONS = ("withdrawn", "restored")
# Decisions about data; the others are about a version.
DATA_DECISIONS = (*BATCH_DECISIONS, "erased")
GENESIS = "0" * 64
OWN_FIELDS = frozenset({"decision", "use_case", "sequence", "time", "previous", "hash"})


class LedgerError(Exception):
    """The chain is broken; the message names the entry."""


class MovedOnError(Exception):
    """Another writer was quicker: what was decided was decided without knowing of that entry."""


class Anchor(Protocol):
    """A place outside of the storage that remembers the newest entry."""

    def hold(self, entries: list[dict[str, Any]]) -> str:
        """Say what is remembered, or raise a ``LedgerError`` if these entries lack it."""

    def note(self, entry: dict[str, Any]) -> None:
        """Remember an entry in place of an older one."""


class Ledger:
    """The ledger of one use case.

    Attributes:
        anchor: Asked before an entry is added, and told of it: nothing is added to a ledger that
            was cut off or written anew.
    """

    def __init__(self, storage: Storage, use_case: str, anchor: Anchor | None = None) -> None:
        self.storage = storage
        self.use_case = use_case
        self.prefix = f"{use_case}/ledger"
        self.anchor = anchor

    def entries(self) -> list[dict[str, Any]]:
        """Every readable entry, first to last, as it lies there (``verify`` judges it)."""
        return [entry for _, entry, _ in self._files() if entry.keys() >= OWN_FIELDS]

    def length(self) -> int:
        """How many entries there are by their names, which costs little enough to ask often."""
        return sum(name.endswith(".json") for name in self.storage.list(self.prefix))

    def _files(self) -> list[tuple[str, dict[str, Any], bytes]]:
        """File name, entry and bytes of each; no entry where the bytes are no JSON object."""
        names = [name for name in self.storage.list(self.prefix) if name.endswith(".json")]
        return [(name, *self._read(name)) for name in names]

    def _read(self, name: str) -> tuple[dict[str, Any], bytes]:
        try:
            with self.storage.open(f"{self.prefix}/{name}") as file:
                content = file.read()
            entry: object = json.loads(content)
        except (ValueError, RecursionError, IsADirectoryError):
            return {}, b""
        return (entry, content) if isinstance(entry, dict) else ({}, content)

    def append(
        self, decision: Kind, details: Mapping[str, Any], *, after: int | None = None
    ) -> dict[str, Any]:
        """Write one decision at the end of the chain.

        Its time is the clock's, and never earlier than that of the entry before it: a clock that
        was put back does not change what was decided first.

        Args:
            decision: What was decided.
            details: JSON-compatible facts: version, bundle, actor, checks, reasons.
            after: How many entries were known when it was decided; any number without it.

        Returns:
            The entry as written.

        Raises:
            MovedOnError: If there are more entries than that; nothing is written.
            LedgerError: If the chain is broken, is not the anchored one, or cannot be written to;
                nothing is added then.
            ValueError: If the details use a field of the ledger, hold NaN or infinity, or name
                nobody as the actor.
        """
        if not is_a_line(details.get("actor", "nobody")):
            raise ValueError(f"by {details['actor']!r}: say in a line who decides")
        if taken := sorted(OWN_FIELDS & details.keys()):
            raise ValueError(f"the ledger writes these fields itself: {', '.join(taken)}")
        # As they will be read back: a key that is a number becomes text, and sorts as text.
        details = json.loads(json.dumps(dict(details), allow_nan=False))
        while True:
            entries = self.verify()
            if self.anchor is not None:
                self.anchor.hold(entries)
            if after is not None and len(entries) != after:
                said = f"the ledger of {self.use_case} has {len(entries)} entries, not {after}"
                raise MovedOnError(f"{said}: another decision was written meanwhile")
            now = datetime.now(UTC).isoformat()
            entry: dict[str, Any] = {
                **details,
                "decision": decision,
                "use_case": self.use_case,
                "sequence": len(entries) + 1,
                "time": max(now, entries[-1]["time"]) if entries else now,
                "previous": entries[-1]["hash"] if entries else GENESIS,
            }
            entry["hash"] = digest_of(entry)
            try:
                name = f"{self.prefix}/{_name(entry['sequence'])}"
                is_mine = self.storage.create_json(name, entry)
            except OSError as error:
                said = f"the ledger of {self.use_case} cannot be written to: {error}"
                raise LedgerError(f"{said}; nothing is decided") from error
            if is_mine:
                if self.anchor is not None:
                    self.anchor.note(entry)
                return entry

    def verify(self) -> list[dict[str, Any]]:
        """Read the ledger and check its chain from the first entry to the last.

        A ledger cut off at its end, or rewritten as a whole, still chains: only an anchor outside
        it can show that.

        Returns:
            The entries.

        Raises:
            LedgerError: Naming the first entry that was edited, removed or reordered.
        """
        previous = GENESIS
        files = self._files()
        for number, (name, entry, content) in enumerate(files, start=1):
            where = f"{self.use_case} ledger, entry {number}"
            if not entry:
                raise LedgerError(f"{where}: {name} is not readable as an entry")
            found = entry.get("sequence")
            if found != number or name != _name(number):
                raise LedgerError(
                    f"{where}: found number {found} in {name}; one is missing, twice there or moved"
                )
            if entry.get("previous") != previous:
                raise LedgerError(f"{where}: does not follow from the entry before it")
            if entry.get("use_case") != self.use_case:
                raise LedgerError(f"{where}: is one of {entry.get('use_case')!r}")
            body = {key: value for key, value in entry.items() if key != "hash"}
            # To the byte: a field that stands there twice is read once, and seen twice.
            if content != _bytes_of(entry) or entry.get("hash") != digest_of(body):
                raise LedgerError(f"{where}: was edited after it was written")
            previous = entry["hash"]
        return [entry for _, entry, _ in files]


def head(entry: Mapping[str, Any]) -> str:
    """Number and hash of the newest entry, in a line: what a place outside of the ledger notes."""
    return f"{entry['sequence']}:{entry['hash']}"


def holds(entries: Sequence[Mapping[str, Any]], noted: str) -> bool:
    """Whether the entry that was noted as the head of a ledger is in it still."""
    number, _, _ = noted.partition(":")
    return number.isdigit() and any(head(each) == noted for each in entries[: int(number)][-1:])


def in_a_line(reason: str) -> str:
    """A reason as it goes into the ledger.

    Raises:
        ValueError: If it is empty.
    """
    line = " ".join(reason.split())
    if not line:
        raise ValueError("say why in a line: it goes into the ledger")
    return line


def is_a_line(text: object) -> bool:
    """Whether something is a text that says something, in one line and without control codes."""
    return isinstance(text, str) and bool(text.strip()) and text.isprintable()


def _bytes_of(entry: Mapping[str, Any]) -> bytes | None:
    try:
        return as_bytes(entry)
    except ValueError:  # half of a character
        return None


def _name(number: int) -> str:
    return f"{number:08d}.json"
