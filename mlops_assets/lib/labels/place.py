"""Where a source of labels hands its files over: each becomes a file of the prediction log.

A receipt is written before anything else, with the time at which the labels count as told. A kill
at any point leaves a fetch that does the same again, under the same names; a file that was taken
in as a whole is known by its content and taken in once.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops_assets.lib.digests import file_digest, short
from mlops_assets.lib.labels.rows import read
from mlops_assets.lib.reading.landed import UnreadableError
from mlops_assets.lib.records.batches import batch_key
from mlops_assets.lib.sources.inbox import Fetched, SourceError
from mlops_assets.lib.spec.performance import LabelSource
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

RECEIPTS, QUARANTINE = "label_files", "label_quarantine"
# Reasons named of a file; the quarantine has every row.
NAMED = 3


class LabelPlace:
    """The labels of one source, as a place that files are handed over to.

    Attributes:
        taken: What became of each file that was taken in, in their order.
    """

    def __init__(
        self,
        storage: Storage,
        spec: UseCase,
        labels: LabelSource,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.storage = storage
        self.use_case = spec.name
        self.landing = f"{spec.name}/feedback"
        self.taken: list[dict[str, Any]] = []
        self._spec = spec
        self._labels = labels
        self._now = now

    def has_landed(self, name: str, content: str) -> bool:
        """Whether a file of this name and content was taken in as a whole."""
        receipt = self.storage.read_json(self._receipt(batch_key(name, content)))
        return receipt is not None and receipt["rows"] is not None

    def land(self, file: Path, name: str | None = None) -> str:
        """Take a file in: its good rows into the prediction log, the others into quarantine.

        Returns:
            The key of the file of the log, which is not there if no row is good.

        Raises:
            SourceError: If the file is no table, or has not the columns that the spec names.
        """
        name, content = name or file.name, file_digest(file)
        key = batch_key(name, content)
        receipt = self.storage.read_json(self._receipt(key)) or {
            "name": name,
            "content": content,
            "source": self._labels.name,
            "told": self._now().astimezone(UTC).replace(tzinfo=None).isoformat(),
            "rows": None,
        }
        self.storage.write_json(self._receipt(key), receipt)
        told = datetime.fromisoformat(receipt["told"])
        target = f"{self.landing}/day={told.date()}/{self._labels.name}-{short(content)}.parquet"
        try:
            with tempfile.TemporaryDirectory(prefix="mlops-labels-") as folder:
                rows = read(file, name, self.storage, self._spec, self._labels, told, Path(folder))
                if rows.good:
                    self.storage.publish(rows.labels, target)
                if rows.bad:
                    self.storage.publish(rows.quarantine, self._quarantine(key))
        except UnreadableError as error:
            raise SourceError(str(error)) from error
        done = {**receipt, "rows": rows.good, "quarantined": rows.bad, "reasons": rows.reasons}
        self.storage.write_json(self._receipt(key), done)
        self.taken.append({**done, "file": self._quarantine(key) if rows.bad else None})
        return target

    def say(self, fetched: Fetched) -> None:
        """Add what became of the rows to what a fetch says."""
        fetched.unit = ("file of labels", "files of labels")
        for receipt in self.taken:
            if receipt["quarantined"]:
                every = [f"{why}: {n}" for why, n in receipt["reasons"].items()]
                reasons = every[:NAMED]
                reasons += [f"and {len(every) - NAMED} more reasons"] if every[NAMED:] else []
                fetched.problems.append(
                    f"{receipt['name']}: {receipt['quarantined']} rows are quarantined "
                    f"({'; '.join(reasons)}), see {receipt['file']}"
                )
        fetched.about |= {
            "labels": sum(receipt["rows"] for receipt in self.taken),
            "quarantined": sum(receipt["quarantined"] for receipt in self.taken),
        }

    def _receipt(self, key: str) -> str:
        return f"{self.use_case}/{RECEIPTS}/{self._labels.name}/{key}.json"

    def _quarantine(self, key: str) -> str:
        return f"{self.use_case}/{QUARANTINE}/{self._labels.name}/{key}.parquet"
