"""Asks the parts of the exporter, keeps their answers for a moment, and outlives their failures.

What one part cannot tell, since a store is away or a ledger is broken, is said by
``mlops_exporter_part_up`` and in the log; the others are told as ever. What was true before is not
told again: an old number looks like a good one.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from mlops_assets.exporter.metrics import EXPORTER_UP, PART_SECONDS, PART_UP, Sample, families

#: A second scraper, or one that comes every few seconds, gets what the first one got.
KEPT_SECONDS: Final = 10.0
#: Of what changes a few times a day.
SLOW_SECONDS: Final = 60.0

log = logging.getLogger(__name__)


class Part:
    """One source of metrics.

    Attributes:
        name: What it is about.
        up: Whether it worked when it was last asked.
        seconds: How long that took.
    """

    def __init__(
        self,
        name: str,
        look: Callable[[], Iterable[Sample]],
        kept_seconds: float = KEPT_SECONDS,
        use_case: str = "",
    ) -> None:
        """Nothing is asked yet.

        Args:
            name: What it is about; parts of several use cases share one.
            look: Gives its samples. Those that came before it raised count.
            kept_seconds: How long they are kept.
            use_case: Whose they are, for the log.
        """
        self.name = name
        self.up = True
        self.seconds = 0.0
        self._look = look
        self._kept_seconds = kept_seconds
        self._about = f"{name} of {use_case}" if use_case else name
        self._samples: list[Sample] = []
        self._until = float("-inf")
        self._said = ""

    def samples(self) -> list[Sample]:
        """What it has to tell, not older than it may be."""
        began = time.monotonic()
        if began < self._until:
            return self._samples
        self._samples, said = [], ""
        try:
            # One by one: what was told before it broke is not lost.
            for sample in self._look():
                self._samples.append(sample)
        except Exception as error:  # whatever it is, the other parts go on
            said = f"{type(error).__name__}: {error}"
            if said != self._said:  # once, not with every scrape
                log.exception("%s cannot be told", self._about)
        if self._said and not said:
            log.warning("%s can be told again", self._about)
        self._said, self.up = said, not said
        ended = time.monotonic()
        self.seconds, self._until = ended - began, ended + self._kept_seconds
        return self._samples


class PlatformCollector(Collector):
    """All parts as one collector of prometheus-client; scrapes at the same time take turns."""

    def __init__(self, parts: Iterable[Part]) -> None:
        self._parts = list(parts)
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        """Every metric."""
        with self._lock:
            samples = [sample for part in self._parts for sample in part.samples()]
            return families([*samples, *self._own()])

    def describe(self) -> Iterable[Metric]:
        """Names only: registering asks no part."""
        return families([])

    def _own(self) -> Iterator[Sample]:
        yield Sample(EXPORTER_UP, (), float(all(part.up for part in self._parts)))
        for name in sorted({part.name for part in self._parts}):
            same = [part for part in self._parts if part.name == name]
            yield Sample(PART_UP, (name,), float(all(part.up for part in same)))
            yield Sample(PART_SECONDS, (name,), sum(part.seconds for part in same))
