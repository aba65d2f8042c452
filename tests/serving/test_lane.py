import asyncio
import gc
import threading
from typing import Any

import pytest

from serving.bundle.features import FeatureError
from serving.bundle.loaded import Bundle
from serving.roles.lane import BusyError, Lane, LateError
from serving.settings import Settings
from tests.serving.bundles import PAYLOAD, ROWS, SQL, Built, make_bundle
from tests.serving.server import wait_until

Batches = list[tuple[int, ...]]


def lane_of(bundle: Bundle, batches: list[Any] | None = None, most: int = 1000) -> Lane:
    seen: list[Any] = [] if batches is None else batches
    return Lane(bundle, most, lambda *batch: seen.append(batch))


def test_rows_that_arrive_together_are_computed_together(built: Built, bundle: Bundle) -> None:
    batches: list[Any] = []
    lane = lane_of(bundle, batches)
    rows = [bundle.contract.validate_row(row) for row in ROWS]

    async def ask() -> list[Any]:
        return await asyncio.gather(*(lane.submit([row], 10) for row in rows * 20))

    found = asyncio.run(ask())
    expected = [built.probability(row) for row in ROWS] * 20
    assert [scored.probabilities[0] for scored in found] == pytest.approx(expected, abs=1e-5)
    assert all(scored.features.shape == (1, 9) for scored in found)
    assert sum(batch[0] for batch in batches) == len(rows) * 20
    assert len(batches) < 20
    assert all(seconds >= 0 for batch in batches for seconds in batch[1:])
    assert lane.waiting == 0


def test_the_largest_requests_of_several_clients_find_room(bundle: Bundle) -> None:
    settings = Settings(use_cases=("heart",), storage_root="nowhere")
    lane = lane_of(bundle, most=settings.queue_rows)
    row = bundle.contract.validate_row(PAYLOAD)

    async def ask() -> list[Any]:
        largest = [lane.submit([row] * settings.batch_rows, 10) for _ in range(4)]
        return await asyncio.gather(*largest, lane.submit([row], 10))

    assert [len(scored.features) for scored in asyncio.run(ask())] == [settings.batch_rows] * 4 + [
        1
    ]


def test_rows_of_one_request_stay_together(built: Built, bundle: Bundle) -> None:
    lane = lane_of(bundle, most=2)
    rows = [bundle.contract.validate_row(row) for row in ROWS] * 100
    # Larger than the queue and than a batch: one request alone is always taken.
    found = asyncio.run(_one(lane, rows))
    expected = [built.probability(row) for row in ROWS] * 100
    assert found.probabilities.tolist() == pytest.approx(expected, abs=1e-5)


async def _one(lane: Lane, rows: list[Any]) -> Any:
    return await lane.submit(rows, 10)


def test_a_row_that_cannot_be_computed_fails_alone(tmp_path: Any) -> None:
    infinite = "case when age = 99 then 1e300 * oldpeak else 1 end"
    sql = SQL.replace("oldpeak,", f"oldpeak * {infinite} as oldpeak,")
    built = make_bundle(tmp_path, sql=sql)
    bundle = Bundle.load(built.folder, built.digest, "heart_disease")
    lane = lane_of(bundle)
    rows = [bundle.contract.validate_row({**PAYLOAD, "age": age}) for age in (50, 99, 51)]

    async def ask() -> list[Any]:
        asked = [lane.submit([row], 10) for row in rows]
        return await asyncio.gather(*asked, return_exceptions=True)

    first, second, third = asyncio.run(ask())
    assert isinstance(second, FeatureError)
    for age, scored in ((50, first), (51, third)):
        expected = built.probability({**PAYLOAD, "age": age})
        assert scored.probabilities.tolist() == [pytest.approx(expected, abs=1e-5)]


def test_a_full_queue_refuses(bundle: Bundle) -> None:
    lane = lane_of(bundle, most=3)
    row = bundle.contract.validate_row(PAYLOAD)

    async def ask() -> None:
        asked = [lane.submit([row], 10) for _ in range(3)]
        with pytest.raises(BusyError, match="3 rows are waiting"):
            lane.submit([row], 10)
        await asyncio.gather(*asked)
        await lane.submit([row], 10)

    asyncio.run(ask())


def test_who_waited_too_long_is_not_computed(bundle: Bundle) -> None:
    batches: list[Any] = []
    lane = lane_of(bundle, batches)
    row = bundle.contract.validate_row(PAYLOAD)

    async def ask() -> None:
        with pytest.raises(LateError):
            await lane.submit([row], -1)

    asyncio.run(ask())
    assert batches == []
    assert lane.waiting == 0


def ended(thread: threading.Thread) -> bool:
    # An error and the frames that it came by hold each other.
    gc.collect()
    return not thread.is_alive()


def test_a_lane_ends_when_it_is_forgotten(bundle: Bundle) -> None:
    before = set(threading.enumerate())
    lane = lane_of(bundle)
    (thread,) = {t for t in threading.enumerate() if t.name == "lane"} - before
    asyncio.run(_one(lane, [bundle.contract.validate_row(PAYLOAD)]))
    assert thread.is_alive()
    del lane
    wait_until(lambda: ended(thread), "the lane's thread to end")


def test_a_lane_that_failed_ends_when_it_is_forgotten(bundle: Bundle) -> None:
    before = set(threading.enumerate())
    lane = lane_of(bundle)
    (thread,) = {t for t in threading.enumerate() if t.name == "lane"} - before
    with pytest.raises(FeatureError):
        asyncio.run(_one(lane, [{"no": "column"}]))
    del lane
    wait_until(lambda: ended(thread), "the lane's thread to end")
