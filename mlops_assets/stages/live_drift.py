"""``live_drift``: whether the answers of a day still look like what the version was trained on.

A day is judged by the version that answered, or by each of several. It is judged again when files
come late, as they do from a server whose storage was away.
"""

import tempfile
from collections.abc import Iterator
from datetime import date, datetime
from pathlib import Path

import dagster as dg

from mlops_assets.lib.digests import digest_of
from mlops_assets.lib.drift import records
from mlops_assets.lib.drift.answers import FEATURE, INPUT, Answers, read_day
from mlops_assets.lib.drift.reference import GoneError, trained
from mlops_assets.lib.drift.sides import parquet
from mlops_assets.lib.drift.version import Current, judged
from mlops_assets.lib.drift.window import Window
from mlops_assets.lib.records.prediction_log import days, over, said_of, state
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources import StorageRoot
from mlops_assets.stages import rollout
from mlops_assets.stages.checks import Checks, asset_key, common
from mlops_assets.stages.drifting import Found, Judged, check, drawn, results, unless_it_breaks

STAGE = "live_drift"


def checks(spec: UseCase) -> Checks:
    """What is asked of a day; the subject is the digest of its files."""
    return Checks(asset_key(spec, STAGE), (check("The requests and the scores of the day"),))


def partitions(spec: UseCase) -> dg.DailyPartitionsDefinition:
    """The days of the prediction log, in UTC; today's, as far as it is known, if a person asks."""
    return dg.DailyPartitionsDefinition(start_date=spec.drift.since.isoformat(), end_offset=1)


def outstanding(store: Storage, spec: UseCase, now: datetime) -> list[tuple[str, str]]:
    """The days that are over and were not judged, or not with all of their files.

    Returns:
        Day and digest of its files, the newest first.
    """
    found = []
    for day, digest in over(store, spec.name, "served", spec.drift.since, now).items():
        record = records.read(store, spec.name, "days", day)
        if record is None or record["input"] != digest:
            found.append((day, digest))
    return found[::-1]


def build(spec: UseCase) -> dg.Definitions:
    """The asset ``live_drift`` with its check."""
    asked = checks(spec)

    @dg.asset(
        key=asked.asset,
        deps=[asset_key(spec, rollout.STAGE)],
        partitions_def=partitions(spec),
        check_specs=asked.specs(),
        description="Drift of a day of the prediction log, inputs, features and scores, against "
        "the rows that the version was trained on that answered.",
        **common(spec, STAGE, "duckdb", "parquet"),
    )
    def live_drift(
        context: dg.AssetExecutionContext, storage: StorageRoot
    ) -> Iterator[dg.MaterializeResult[None] | dg.AssetCheckResult]:
        store, day = storage.open(), context.partition_key
        folder = records.folder(spec.name, "days", day)
        # Before anything is read: a file that comes meanwhile is noticed.
        digest = state(store, spec.name, "served").get(day, digest_of([]))

        def look(scratch: Path) -> Found:
            there = days(store, spec.name, "served").get(date.fromisoformat(day))
            if there is None:
                return Found(0, said=["not judged: nothing was answered on that day"])
            read = read_day(store.local(there), scratch)
            said = said_of(read.unread)
            if not read.answers:
                return Found(0, said=["not judged: the champion has answered nothing", *said])
            rows = sum(answers.rows for answers in read.answers)
            found = Found(rows, [_judge(store, spec, each) for each in read.answers], said)
            pictures = drawn(context, spec, store, found, folder)
            return Found(rows, found.versions, said, pictures)

        with tempfile.TemporaryDirectory() as scratch:
            found = unless_it_breaks(context, lambda: look(Path(scratch)))
        record = {
            "window": day,
            "at": f"{day}T00:00:00+00:00",
            "input": digest,
            **found.record(),
        }
        records.write(store, spec.name, "days", record)
        yield from results(context, asked, store, found, digest, None)

    return dg.Definitions(assets=[live_drift])


def _judge(store: Storage, spec: UseCase, answers: Answers) -> Judged:
    """The answers of one version against the rows that it was trained on."""
    try:
        known = trained(store, spec.name, answers.bundle)
    except GoneError as error:
        window = Window(answers.rows, 0, why_not=str(error))
        return Judged(answers.version, answers.bundle, window)
    rows = parquet(answers.file)
    current = Current(rows, rows, INPUT, FEATURE)
    window = judged(known, current, spec.drift)
    return Judged(answers.version, answers.bundle, window, known, current)
