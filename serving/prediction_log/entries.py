"""What a request leaves behind, and how a background thread makes lines of it.

The thread that answers only builds a tuple of what it has in its hands. Whatever costs more than
that is done here, later.
"""

import zlib
from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Any, Final, NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from serving.bundle.contract import Row
from serving.prediction_log.streams import Labels, Predictions

#: What a record takes in memory apart from the request's body, roughly, in bytes.
RECORD_BYTES: Final = 1024
#: So many records are encoded in one go: about 0.2 ms in which no other thread can run.
CHUNK: Final = 64

# DuckDB reads objects of up to 16 MiB; this is far from it, and far from any honest row.
_LONGEST_LINE: Final = 8 << 20
_SHARES: Final = 1 << 32
_encoder = msgspec.json.Encoder()

#: A record by the keys of its line.
Item = dict[str, Any]


class Answers(NamedTuple):
    """The answers of one batch. Nobody may change what it holds afterwards.

    Attributes:
        stream: Who answered.
        time: When, in seconds since the epoch.
        ids: Of the predictions.
        request_ids: Of their requests.
        entity_ids: Whom they are about, if known; None where nobody was named.
        rows: As the contract gave them; columns that are not the contract's get no further.
        features: float32 `[n, features]`, NaN where a feature is null.
        probabilities: float64 `[n]`.
        share: Which share of them is kept, 0 to 1; the same ones by id on every server.
        weight: Bytes of memory, roughly.
    """

    stream: Predictions
    time: float
    ids: Sequence[str]
    request_ids: Sequence[str]
    entity_ids: Sequence[str | None] | None
    rows: Sequence[Row]
    features: NDArray[np.float32]
    probabilities: NDArray[np.float64]
    share: float
    weight: int

    @property
    def records(self) -> int:
        """How many answers there are."""
        return len(self.ids)

    def items(self) -> Iterator[Item]:
        """Give each answer that is kept as its line holds it.

        Raises:
            ValueError: The parts differ in length.
        """
        stream, us = self.stream, int(self.time * 1e6)
        entities = repeat(None, len(self.ids)) if self.entity_ids is None else self.entity_ids
        parts = zip(self.ids, self.request_ids, entities, self.rows, self._numbers(), strict=True)
        for id_, request, entity, row, (p, f) in parts:
            if self.share < 1.0 and zlib.crc32(id_.encode()) >= self.share * _SHARES:
                continue
            item: Item = {"id": id_, "us": us, "request": request, "entity": entity, "p": p}
            if stream.inputs:
                item["x"] = row
            if stream.features:
                item["f"] = f
            yield item

    def _numbers(self) -> Iterator[tuple[float, list[float]]]:
        # In parts: a large batch must not hold up other threads, nor be there twice.
        for start in range(0, len(self.probabilities), CHUNK):
            part = slice(start, start + CHUNK)
            yield from zip(
                self.probabilities[part].tolist(), self.features[part].tolist(), strict=True
            )


class Feedback(NamedTuple):
    """What turned out to be true of one prediction.

    Attributes:
        stream: Who was told.
        time: When, in seconds since the epoch.
        prediction_id: Of the prediction.
        label: The class, as text.
        source: Who says so, if known.
        request_id: Of the request that said so.
        observed_at: When it was seen to be true, as text in UTC, if known.
        feedback_id: The same for the same content.
        weight: Bytes of memory, roughly.
    """

    stream: Labels
    time: float
    prediction_id: str
    label: str
    source: str | None
    request_id: str
    observed_at: str | None = None
    feedback_id: str | None = None
    weight: int = RECORD_BYTES

    @property
    def records(self) -> int:
        """One."""
        return 1

    def items(self) -> Iterator[Item]:
        """Give it as its line holds it."""
        yield {
            "id": self.prediction_id,
            "us": int(self.time * 1e6),
            "label": self.label,
            "source": self.source,
            "request": self.request_id,
            "observed": self.observed_at,
            "feedback": self.feedback_id,
        }


Entry = Answers | Feedback


class Lines(NamedTuple):
    """Encoded records.

    Attributes:
        content: A line for each.
        records: How many there are.
        refused: How many no line can hold, by reason.
    """

    content: bytes
    records: int
    refused: dict[str, int]


def encode(items: Sequence[Item]) -> Lines:
    """Make lines of records."""
    try:
        content = _encoder.encode_lines(items)
        if len(content) <= _LONGEST_LINE:
            return Lines(content, len(items), {})
    except (TypeError, ValueError, OverflowError):
        pass
    # One of them is at fault, which must not cost the others.
    kept: list[bytes] = []
    refused: dict[str, int] = {}
    for item in items:
        try:
            line = _encoder.encode_lines([item])
        except (TypeError, ValueError, OverflowError):
            refused["value"] = refused.get("value", 0) + 1
            continue
        if len(line) > _LONGEST_LINE:
            refused["size"] = refused.get("size", 0) + 1
        else:
            kept.append(line)
    return Lines(b"".join(kept), len(kept), refused)
