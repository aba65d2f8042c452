"""The second half of the demo: patients of another clinic, and what follows from them.

The Hungarian site lands as a batch, and its patients are sent to the app, each with what turned out
to be true. That is all that is done here, but for asking early for the day's judgement, which would
otherwise come when the day is over. The rest is left to the sensors.
"""

import threading
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from mlops_assets import home
from mlops_assets.demo.progress import Progress
from mlops_assets.lib.drift import records as drift
from mlops_assets.lib.performance import records as performance
from mlops_assets.lib.records.batches import Batches
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

DATA = Path(__file__).parents[1] / "data" / "heart_hungarian.csv"
# Enough for a canary of a tenth to be judged in a quarter of a minute, and little for a laptop.
A_SECOND = 80
# Of a day, before it is judged: each patient about twice.
ENOUGH = 600
TIMEOUT_SECONDS = 10.0
# Of a version: it does not serve, waits for a person, or serves.
ENDS = {"rejected", "pending", "promoted", "aborted"}


class Traffic(threading.Thread):
    """Sends the patients of a batch, again and again, the first time with their outcomes.

    Attributes:
        answered: How many answers each version gave, by version and role.
        failed: How many requests were not answered, or refused.
    """

    def __init__(self, store: Storage, spec: UseCase, batch: str) -> None:
        """Read the valid rows of an ingested batch."""
        super().__init__(name="traffic", daemon=True)
        import polars as pl

        pointer = Batches(store, spec.name).pointer(batch, "validated")
        assert pointer is not None
        frame = pl.read_parquet(store.local(pointer["file"]), glob=False)
        names = [column.name for column in spec.contract.inputs]
        self._rows: list[dict[str, Any]] = frame.select(names).to_dicts()
        self._labels: list[Any] = frame[spec.contract.target.column].to_list()
        self._use_case = spec.name
        self._stopped = threading.Event()
        self.answered: Counter[tuple[str, str]] = Counter()
        self.failed = 0

    def run(self) -> None:
        """Send until it is stopped; what fails is counted, for servers come and go."""
        import httpx

        with httpx.Client(
            base_url=home.url("serving"), timeout=TIMEOUT_SECONDS, trust_env=False
        ) as client:
            number = 0
            while not self._stopped.is_set():
                began = time.monotonic()
                try:
                    self._send(client, number)
                except (httpx.HTTPError, OSError):
                    self.failed += 1
                number += 1
                self._stopped.wait(max(0.0, 1 / A_SECOND - (time.monotonic() - began)))

    def _send(self, client: Any, number: int) -> None:
        place = number % len(self._rows)
        headers = {"X-Entity-Id": f"patient-{place}"}
        answer = client.post(f"/predict/{self._use_case}", json=self._rows[place], headers=headers)
        answer.raise_for_status()
        said = answer.json()
        self.answered[said["version"], said["role"]] += 1
        if number >= len(self._rows):
            return  # once for each patient: as many more labels would make nothing surer
        told = {"prediction_id": said["prediction_id"], "label": self._labels[place]}
        client.post("/feedback", json=told).raise_for_status()

    def stop(self) -> None:
        """Send nothing more."""
        self._stopped.set()
        self.join(TIMEOUT_SECONDS)


class Shift:
    """The second half, look by look."""

    def __init__(self, store: Storage, spec: UseCase, progress: Progress) -> None:
        """Land the batch, unless it is there."""
        self.store = store
        self.spec = spec
        self.progress = progress
        self.batches = Batches(store, spec.name)
        self.batch = self._land()
        self.traffic: Traffic | None = None
        self.day = ""

    def _land(self) -> str:
        from mlops_assets.lib.digests import file_digest
        from mlops_assets.lib.records.batches import batch_key

        key = batch_key(DATA.name, file_digest(DATA))
        if self.batches.receipt(key) is None:
            self.batches.land(DATA)
            self.progress.say(f"Landed {DATA.name}: another clinic, five years later")
        return key

    def look(self) -> None:
        """Do what it is time for."""
        if self.traffic is None:
            if self.batches.pointer(self.batch, "validated"):
                self.traffic = Traffic(self.store, self.spec, self.batch)
                self.traffic.start()
                self.progress.say(
                    f"Traffic: its patients are sent to the app, {A_SECOND} a second, with what "
                    "turned out to be true"
                )
        elif not self.day and sum(self.traffic.answered.values()) >= ENOUGH:
            self.day = f"{datetime.now(UTC):%Y-%m-%d}"
            self._judge_the_day()

    def _judge_the_day(self) -> None:
        from dagster_graphql import DagsterGraphQLClient

        client = DagsterGraphQLClient("127.0.0.1", port_number=home.port("dagster"))
        client.submit_job_execution(
            f"{self.spec.name}_monitor", tags={"dagster/partition": self.day}
        )
        self.progress.say(f"Monitor: asked for the judgement of {self.day} so far")

    def seen(self) -> bool:
        """Whether the batch and the day are judged."""
        name = self.spec.name
        return bool(
            self.day
            and drift.read(self.store, name, "batches", self.batch)
            and drift.read(self.store, name, "days", self.day)
            and performance.read(self.store, name, self.day)
        )

    def decided(self) -> int:
        """How many decisions about versions the ledger has that end a rollout or prevent one."""
        entries = Ledger(self.store, self.spec.name).entries()
        return sum(entry["decision"] in ENDS for entry in entries)

    def summary(self) -> None:
        """What was decided, and what a person may do now."""
        assert self.traffic is not None
        entries = Ledger(self.store, self.spec.name).entries()
        last = [entry for entry in entries if entry["decision"] in ENDS][-1]
        version, name = last["version"], self.spec.name
        print("\nThe loop is closed")
        for (answering, role), rows in sorted(self.traffic.answered.items()):
            print(f"  version {answering} has answered {rows} patients as the {role}")
        print(f"  requests that failed: {self.traffic.failed}")
        print(f"  version {version} is {last['decision'].replace('_', ' ')}")
        if last["decision"] == "rejected":
            print("  so the champion stays. Where the contest was undecided, you may decide, and")
            print("  watch it pass shadow and canary beside the champion while traffic goes on:")
            print(f'  mlops promote {name} {version} --reason "both clinics are ours"')
        print(
            f"  {home.url('dagster')}/assets/{name}/live_drift and live_performance, batch_drift,"
        )
        print("  promotion and rollout beside them, show what the sensors saw", flush=True)
