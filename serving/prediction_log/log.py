"""The prediction log of a worker: takes records in a microsecond, brings each to Parquet once.

    append -> queue in memory -> segment in the spool -> one Parquet file in the storage root
              (bounded)          (writer, fsync)         (roller, DuckDB; then the segment goes)

A record that was appended is in a segment a tenth of a second later, and on the disk within another
half: a process that is killed, or a machine that loses power, loses at most the last second. What
cannot be written stays in the queue, what cannot be stored stays in the spool, both up to a limit;
what finds no room is dropped and counted. No request ever waits for a disk or a store, or sees an
error of theirs.
"""

import hmac
import os
import time as clock
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle.contract import Row
from serving.bundle.loaded import Bundle
from serving.prediction_log.entries import RECORD_BYTES, Answers, Feedback
from serving.prediction_log.problems import Problems
from serving.prediction_log.queue import Queue
from serving.prediction_log.roller import Roller
from serving.prediction_log.spool import Spool
from serving.prediction_log.streams import Labels, Predictions, class_text
from serving.prediction_log.writer import Limits, Writer
from serving.settings import Settings
from serving.storage.bucket import SCHEME
from serving.storage.sink import open_sink

#: The key of the digests in place of personal data. Without it, no id that must be hashed is kept.
PII_KEY: Final = "MLOPS_PII_KEY"

_MEGABYTE: Final = 1 << 20
# Shadows answer nobody: they may not take the room of those who do.
_SHADOW: Final = "shadow"
_SHARE_OF_SHADOWS: Final = 0.5


@dataclass(frozen=True)
class Backlog:
    """What is on its way.

    Attributes:
        queued: Records in memory.
        spooled: Records in segments.
        size: Bytes of the segments.
        oldest_seconds: Age of the oldest record, at most the age of its segment; 0 without any.
    """

    queued: int
    spooled: int
    size: int
    oldest_seconds: float


class PredictionLog:
    """The log of one worker. Any thread may call its methods; only `stop` waits.

    With `prediction_log = false` it takes nothing and touches neither spool nor storage.
    """

    def __init__(self, settings: Settings) -> None:
        """Take the settings; nothing is touched before `start`.

        To be made in the process that uses it: two processes must not share a folder of the spool.
        """
        self._settings = settings
        self._on = settings.prediction_log
        # Beside the settings, because every answer asks for them.
        self._of_shadows = settings.log_shadow_share, _SHARE_OF_SHADOWS
        self._entities = settings.log_entity_ids
        self._pii_key = os.environ.get(PII_KEY, "").encode()
        self._labels = {name: Labels(name, settings.environment) for name in settings.use_cases}
        self._queue = Queue(settings.log_queue_records, settings.log_queue_mb * _MEGABYTE)
        root = settings.storage_root
        place = root if root.startswith(SCHEME) else str(Path(root).resolve())
        self._spool = Spool(Path(settings.log_spool), place)
        self._problems = Problems()
        limits = Limits(
            settings.log_roll_seconds, settings.log_roll_records, settings.log_spool_mb * _MEGABYTE
        )
        self._writer = Writer(self._queue, self._spool, limits, self._problems)
        sink = open_sink(place, self._spool.folder)
        self._roller = Roller(self._spool, self._writer.sealed, sink, self._queue, self._problems)

    def predictions(self, bundle: Bundle, role: str, version: str) -> Predictions:
        """Describe what a bundle answers in a role: once for each that is put to serve."""
        settings = self._settings
        return Predictions.of(
            bundle,
            settings.environment,
            role,
            version,
            inputs=settings.log_inputs,
            features=settings.log_features,
        )

    def append(
        self,
        stream: Predictions,
        time: float,
        ids: Sequence[str],
        request_ids: Sequence[str],
        rows: Sequence[Row],
        features: NDArray[np.float32],
        probabilities: NDArray[np.float64],
        entity_ids: Sequence[str | None] | None = None,
        size: int = 0,
    ) -> None:
        """Record the answers of one batch. Nothing that is handed over may be changed afterwards.

        Args:
            stream: Who answered; see `predictions`.
            time: When, in seconds since the epoch.
            ids: A prediction id for each answer.
            request_ids: The id of the request of each.
            rows: What the contract made of each request.
            features: float32 `[n, features]`, NaN where a feature is null.
            probabilities: float64 `[n]`.
            entity_ids: Whom each is about, if known.
            size: Bytes of the requests' bodies together, by which the queue is bounded.
        """
        if not self._on:
            return
        count = len(ids)
        share, limit = (1.0, 1.0) if stream.role != _SHADOW else self._of_shadows
        if not self._entities:
            entity_ids = None
        elif entity_ids is not None and stream.entity_pii is not None:
            entity_ids = [self._shown(entity, stream.entity_pii) for entity in entity_ids]
        weight = size + count * RECORD_BYTES
        entry = Answers(
            stream, time, ids, request_ids, entity_ids, rows, features, probabilities, share, weight
        )
        self._queue.put(entry, count, weight, limit)

    def _shown(self, entity: str | None, pii: str) -> str | None:
        """What the contract lets us keep of an id; the same digest as in the training data."""
        if entity is None or pii != "hash" or not self._pii_key:
            return None
        return hmac.new(self._pii_key, entity.strip().encode(), "sha256").hexdigest()

    def feedback(
        self,
        use_case: str,
        prediction_id: str,
        label: bool | int | float | str,
        time: float,
        request_id: str,
        source: str | None = None,
        observed_at: str | None = None,
        feedback_id: str | None = None,
    ) -> None:
        """Record what turned out to be true of a prediction.

        Args:
            use_case: Whose prediction it was.
            prediction_id: Its id.
            label: The value of one of the bundle's classes.
            time: When it was told, in seconds since the epoch.
            request_id: The id of the request that told it.
            source: Who says so, if known.
            observed_at: When it was seen to be true, `YYYY-MM-DD HH:MM:SS[.ffffff]` in UTC.
            feedback_id: The same for the same content, so that a reader can count it once.
        """
        if not self._on:
            return
        text = class_text(label)
        entry = Feedback(
            self._labels[use_case],
            time,
            prediction_id,
            text,
            source,
            request_id,
            observed_at,
            feedback_id,
        )
        self._queue.put(entry, 1, entry.weight)

    @property
    def full(self) -> bool:
        """Whether what comes next may be dropped; there is room for answers that are on their way.

        With `log_when_full = "refuse"` a server asks before it answers.
        """
        return self._queue.full

    @property
    def dropped(self) -> Mapping[str, int]:
        """Records that were lost, by reason.

        `queue`: came faster than they could be written. `disk`: that of the spool is full or
        broken. `spool`: the storage takes nothing, and the spool has reached its limit. `size`,
        `value`: no line can hold it. `damaged`: its segment cannot be read any more. `stopped`:
        the log was.
        """
        return dict(self._queue.dropped)

    @property
    def stored(self) -> int:
        """Records that this worker brought into the storage root."""
        return self._roller.stored

    @property
    def problem(self) -> str | None:
        """Why records do not move on at present, or None."""
        return str(self._problems) or None

    def backlog(self) -> Backlog:
        """Tell what is on its way."""
        sealed, spool, queue = tuple(self._writer.sealed), self._spool, self._queue
        times = [queue.oldest, spool.oldest, *(each.head.opened for each in sealed)]
        oldest = min((each for each in times if each is not None), default=None)
        return Backlog(
            queue.records,
            spool.records + sum(each.records for each in sealed),
            spool.size + sum(each.size for each in sealed),
            0.0 if oldest is None else max(0.0, clock.time() - oldest),
        )

    def start(self) -> None:
        """Write from now on. What workers that are gone left in the spool is taken over."""
        if not self._on:
            return
        self._writer.thread.start()
        self._roller.thread.start()

    def stop(self, seconds: float = 10.0) -> bool:
        """Take no more, and bring what is there into the storage root.

        Args:
            seconds: How long that may take. What is left stays in the spool, for the next worker.

        Returns:
            Whether nothing is left.
        """
        if not self._on:
            return True
        self._queue.close()
        deadline = clock.monotonic() + seconds
        for part in (self._writer, self._roller):
            part.stop(deadline)
            part.thread.join(max(0.0, deadline - clock.monotonic()))
            if part.thread.is_alive():
                return False  # the lock goes with the process
        self._spool.close()
        left = self.backlog()
        return not left.queued and not left.spooled
