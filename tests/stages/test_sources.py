"""Sources as assets: fetched by a schedule or by hand, landed, ingested like any other file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from dagster._core.test_utils import create_run_for_test

from mlops_assets.automation.jobs import SOURCE_TAG, USE_CASE_TAG
from mlops_assets.defs import resources
from mlops_assets.stages.checks import SUBJECT
from mlops_assets.use_case import TabularClassifier
from tests.platform import DATA, HEART, Platform, checks, quick_spec


@pytest.fixture
def exports(tmp_path: Path) -> Path:
    folder = tmp_path / "exports"
    folder.mkdir()
    return folder


@pytest.fixture
def graph(exports: Path) -> dg.Definitions:
    """Heart disease with a folder that is looked at every ten minutes, and a database."""
    query = "select * from people where at > :watermark order by at"
    sources: list[dict[str, Any]] = [
        {"name": "exports", "kind": "files", "url": str(exports), "schedule": "*/10 * * * *"},
        {
            "name": "crm",
            "kind": "database",
            "url_env": "NO_CRM_URL",
            "query": query,
            "watermark": "at",
            "start": 0,
        },
    ]
    attributes = quick_spec().model_dump(mode="json", exclude_unset=True) | {"sources": sources}
    component = TabularClassifier.model_validate(attributes)
    return component.build_defs(dg.ComponentTree.for_test().load_context)


@pytest.fixture
def made(tmp_path: Path, graph: dg.Definitions) -> Iterator[Platform]:
    with dg.DagsterInstance.ephemeral() as instance:
        definitions = dg.Definitions.merge(graph, resources.resources())
        yield Platform(tmp_path, instance, definitions, "http://127.0.0.1:9")


def fetch(made: Platform, name: str) -> dg.ExecuteInProcessResult:
    return made.run("fetch", asset_selection=[dg.AssetKey([HEART, "sources", name])])


def test_what_a_source_lands_is_ingested_and_nothing_lands_twice(
    made: Platform, exports: Path
) -> None:
    file = exports / "cleveland.csv"
    file.write_bytes((DATA / "heart_cleveland.csv").read_bytes())
    os.utime(file, (1e9, 1e9))
    first = fetch(made, "exports")
    assert checks(first) == {"exports/fetched": (True, f"1 new batch, {file.stat().st_size} bytes")}
    (request,) = made.tick("landing").run_requests or []
    (materialised,) = first.asset_materializations_for_node(f"{HEART}__sources__exports")
    landed = materialised.metadata["landed"].value
    assert isinstance(landed, list)
    assert landed[0]["key"] == request.partition_key
    # `raw` has partitions and rests on assets without any.
    assert made.ingest(str(request.partition_key)).success
    assert not made.tick("landing").run_requests
    assert checks(fetch(made, "exports")) == {"exports/fetched": (True, "nothing new")}
    assert not made.tick("landing").run_requests


def test_a_source_that_cannot_be_fetched_fails_its_run_and_says_why(made: Platform) -> None:
    result = fetch(made, "crm")
    assert not result.success
    (evaluation,) = result.get_asset_check_evaluations()
    assert not evaluation.passed
    assert evaluation.severity == dg.AssetCheckSeverity.WARN
    assert evaluation.description == "source crm: the environment variable NO_CRM_URL is not set"
    assert evaluation.metadata[SUBJECT].value


def test_a_schedule_fetches_its_source_unless_it_is_being_fetched(
    tmp_path: Path, graph: dg.Definitions
) -> None:
    (schedule,) = (s for s in graph.schedules or [] if s.name.startswith(f"{HEART}_fetch"))
    assert isinstance(schedule, dg.ScheduleDefinition)
    assert schedule.cron_schedule == "*/10 * * * *"
    assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
    with dg.DagsterInstance.local_temp(str(tmp_path)) as instance:
        context = dg.build_schedule_context(instance=instance)
        request = schedule(context)
        assert isinstance(request, dg.RunRequest)
        assert request.asset_selection == [dg.AssetKey([HEART, "sources", "exports"])]
        create_run_for_test(
            instance,
            job_name=f"{HEART}_fetch",
            status=dg.DagsterRunStatus.STARTED,
            tags={USE_CASE_TAG: HEART, SOURCE_TAG: "exports"},
        )
        assert isinstance(schedule(context), dg.SkipReason)
