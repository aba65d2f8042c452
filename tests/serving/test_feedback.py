import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import polars as pl
import pytest

from serving.app import App
from serving.settings import Settings
from tests.serving.bundles import PAYLOAD, USE_CASE, desire, make_bundle

PREDICTION = "0123456789abcdef" * 2
SAID = {"prediction_id": PREDICTION, "label": 1}


def soon(minutes: int) -> str:
    return (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()


def make_app(root: Path, serves: bool = True, **settings: Any) -> App:
    desire(root, make_bundle(root) if serves else None)
    spool = root / "spool"
    app = App(
        Settings(use_cases=(USE_CASE,), storage_root=str(root), log_spool=str(spool), **settings)
    )
    app.use_cases[USE_CASE].follower.look()
    return app


def kept(app: App, root: Path) -> list[dict[str, Any]]:
    """What the prediction log holds in the end, in the order in which it was said."""
    app.log.start()
    assert app.log.stop()
    files = sorted((root / USE_CASE / "feedback").rglob("*.parquet"))
    return pl.concat([pl.read_parquet(file) for file in files]).to_dicts() if files else []


def post(app: App, payload: Any, path: str = "/feedback") -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, json=payload)

    return asyncio.run(ask())


def test_label_may_be_a_value_or_a_name(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    for label in (1, 1.0, "disease", 0, "no disease"):
        answer = post(app, {**SAID, "label": label})
        assert (answer.status_code, answer.json()["accepted"]) == (202, 1)
    records = kept(app, tmp_path)
    assert [record["label"] for record in records] == ["1", "1", "1", "0", "0"]
    assert {record["prediction_id"] for record in records} == {PREDICTION}
    assert {record["observed_at"] for record in records} == {None}


def test_same_words_have_the_same_id(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    named = {"prediction_id": PREDICTION, "label": "disease", "source": None}
    dated = {**SAID, "observed_at": "2026-01-31T12:00:00+02:00", "source": "ward 3"}
    utc = {**dated, "observed_at": "2026-01-31 10:00:00"}
    answer = post(app, [SAID, named, dated, utc, {**SAID, "label": 0}], f"/feedback/{USE_CASE}")
    assert answer.json()["accepted"] == 5
    ids = answer.json()["ids"]
    records = kept(app, tmp_path)
    assert ids == [record["feedback_id"] for record in records]
    assert ids[0] == ids[1]
    assert ids[2] == ids[3]
    assert len(set(ids)) == 3
    assert records[2]["observed_at"] == datetime(2026, 1, 31, 10)
    assert records[2]["source"] == "ward 3"


def test_a_clock_may_be_some_minutes_ahead(tmp_path: Path) -> None:
    app = make_app(tmp_path)
    assert post(app, {**SAID, "observed_at": soon(minutes=4)}).status_code == 202


@pytest.mark.parametrize(
    ("said", "problem"),
    [
        ({"label": 1}, "prediction_id: is required"),
        ({**SAID, "prediction_id": "x"}, "must be the prediction_id of an answer; got"),
        ({"prediction_id": PREDICTION}, "label: is required"),
        ({**SAID, "label": 2}, 'must be 0 ("no disease") or 1 ("disease"); got 2'),
        ({**SAID, "label": True}, "must be 0"),
        ({**SAID, "label": [1]}, "got an array"),
        ({**SAID, "observed_at": "yesterday"}, "must be an ISO 8601 time"),
        (
            {**SAID, "observed_at": soon(minutes=2 * 24 * 60)},
            "observed_at: must not be in the future; got",
        ),
        ({**SAID, "source": ""}, "must have 1 to 64 characters; got 0"),
        ({**SAID, "source": "x" * 65}, "must have 1 to 64 characters; got 65"),
        ({**SAID, "note": "?"}, "has fields besides prediction_id, label, observed_at, source: 1"),
        ([SAID, 5], "1: must be a JSON object; got 5"),
        ([SAID] * 1001, "must hold 1 to 1000 rows; got 1001"),
    ],
)
def test_feedback_that_says_nothing_is_refused(tmp_path: Path, said: Any, problem: str) -> None:
    app = make_app(tmp_path)
    answer = post(app, said)
    assert answer.status_code == 422
    found = answer.json()["detail"]
    shown = [": ".join([*map(str, each["loc"][1:]), each["msg"]]) for each in found]
    assert any(problem in each for each in shown), shown
    assert app.log.backlog().queued == 0


def test_what_finds_no_room_is_said_to_try_again(tmp_path: Path) -> None:
    app = make_app(tmp_path, log_queue_records=4)
    statuses = [post(app, SAID).status_code for _ in range(6)]
    assert statuses[0] == 202
    assert statuses[-1] == 503
    answer = post(app, SAID)
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {"detail": "the prediction log cannot keep up; try again"}
    assert len(kept(app, tmp_path)) == statuses.count(202)


def test_a_server_that_records_nothing_says_so(tmp_path: Path) -> None:
    app = make_app(tmp_path, prediction_log=False)
    before = sorted(tmp_path.rglob("*"))

    async def serve() -> None:
        lifespan = app.documented.router.lifespan_context(app.documented)
        client = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test")
        async with lifespan, client:
            assert (await client.post("/predict", json=PAYLOAD)).status_code == 200
            answer = await client.post("/feedback", json=SAID)
            assert answer.status_code == 501
            assert answer.json()["detail"].endswith("records nothing: its prediction log is off")

    asyncio.run(serve())
    assert app.log.backlog().queued == 0
    assert not app.log.dropped
    assert sorted(tmp_path.rglob("*")) == before


def test_nobody_asks_what_came_of_what_nobody_answered(tmp_path: Path) -> None:
    assert post(make_app(tmp_path, serves=False), SAID).status_code == 503
