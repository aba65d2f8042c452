"""Champion, challenger and shadow: who answers, and that nobody hurts the champion."""

import asyncio
import copy
import gc
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from serving.bundle.contract import RowError
from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.roles.follower import Follower
from serving.roles.suspects import Suspects
from serving.roles.use_case import Answer, NothingServesError, UseCase
from serving.settings import Settings
from serving.storage.origin import open_origin
from tests.serving.bundles import CONTRACT, PAYLOAD, USE_CASE, Built, desire, make_bundle
from tests.serving.models import not_a_number_at_99, slow
from tests.serving.server import wait_until


class Served:
    """A use case that follows a folder, without a web server."""

    def __init__(self, root: Path, suspects: Suspects | None = None, **settings: Any) -> None:
        given = Settings(use_cases=(USE_CASE,), storage_root=str(root), **settings)
        self.root = root
        self.metrics = Metrics(given.use_cases)
        origin, log = open_origin(USE_CASE, given), PredictionLog(given)
        self.follower = Follower(USE_CASE, given, origin, self.metrics, log, suspects)
        self.use_case = UseCase(USE_CASE, given, self.follower, self.metrics)
        self.told: list[Answer] = []

    def desire(self, **roles: tuple[Built, float]) -> None:
        """Ask for roles, each a bundle and its percentage, and follow at once."""
        wanted = {name: {**built.role, "percent": share} for name, (built, share) in roles.items()}
        desire(self.root, None, roles=wanted, salt="pepper")
        self.follower.look()

    async def ask(self, key: str = "someone", **changes: Any) -> Answer:
        return await self.use_case.answer([{**PAYLOAD, **changes}], key, self.told.append)

    def count(self, name: str, **labels: str) -> float:
        labels = {"use_case": USE_CASE, **labels}
        return self.metrics.registry.get_sample_value(f"serving_{name}", labels) or 0.0


@pytest.fixture(scope="module", autouse=True)
def no_garbage_of_others() -> Iterator[None]:
    """Collections look at what these tests have made, not at all that a worker has imported."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(autouse=True)
def no_lane_is_left() -> Iterator[None]:
    """A thread that is in native code when Python ends would take the whole process down."""
    before = set(threading.enumerate())
    yield

    def ended() -> bool:
        gc.collect()
        return not any(t.name == "lane" for t in set(threading.enumerate()) - before)

    wait_until(ended, "the lanes to end")


@pytest.fixture(scope="session")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("roles")


@pytest.fixture(scope="session")
def good(root: Path) -> list[Built]:
    return [make_bundle(root, seed) for seed in (1, 2, 3)]


def without_the_oldest(golden: list[dict[str, Any]]) -> None:
    """Whoever is 110 breaks the other contract."""
    golden.pop(2)


def run(test: Callable[[], Awaitable[None]]) -> None:
    async def body() -> None:
        await test()
        # Shadows are cast after the answer.
        await asyncio.sleep(0.05)

    asyncio.run(body())


def test_a_challenger_answers_its_share_and_always_the_same_keys(
    root: Path, good: list[Built]
) -> None:
    served = Served(root)
    keys = [f"customer-{number}" for number in range(400)]

    async def ask_all() -> dict[str, str]:
        return {key: (await served.ask(key)).served.name for key in keys}

    served.desire(champion=(good[0], 100), challenger=(good[1], 20))
    first = asyncio.run(ask_all())
    assert asyncio.run(ask_all()) == first
    assert 0.12 < Counter(first.values())["challenger"] / len(keys) < 0.28
    served.desire(champion=(good[0], 100), challenger=(good[1], 50))
    then = asyncio.run(ask_all())
    assert 0.4 < Counter(then.values())["challenger"] / len(keys) < 0.6
    # Whoever had the challenger keeps it.
    assert {key for key in keys if first[key] == "challenger"} <= {
        key for key in keys if then[key] == "challenger"
    }
    for percent, name in ((0, "champion"), (100, "challenger")):
        served.desire(champion=(good[0], 100), challenger=(good[1], percent))
        assert set(asyncio.run(ask_all()).values()) == {name}


def test_an_answer_is_of_the_version_it_names(root: Path, good: list[Built]) -> None:
    served = Served(root)
    served.desire(champion=(good[0], 100), challenger=(good[1], 50), shadow=(good[2], 100))
    by_version = {built.version: built for built in good}

    async def test() -> None:
        for number in range(50):
            answer = await served.ask(str(number), age=20 + number)
            built = by_version[answer.served.role.version]
            expected = built.probability({**PAYLOAD, "age": 20 + number})
            assert answer.scored.probabilities.tolist() == [pytest.approx(expected, abs=1e-5)]

    run(test)
    assert {answer.served.name for answer in served.told} == {"champion", "challenger", "shadow"}
    assert sum(answer.served.name == "shadow" for answer in served.told) == 50
    outcomes = [served.count("shadow_total", outcome=o) for o in ("agreed", "disagreed")]
    assert sum(outcomes) == 50
    assert served.count("shadow_difference_count") == 50


def test_nothing_answers_without_a_champion(root: Path, good: list[Built]) -> None:
    served = Served(root)
    served.desire(challenger=(good[1], 100))
    with pytest.raises(NothingServesError):
        asyncio.run(served.ask())


def test_the_champion_answers_for_a_challenger_that_fails(root: Path, good: list[Built]) -> None:
    bad = make_bundle(root, 11, change_folder=not_a_number_at_99)
    served = Served(root)
    served.desire(champion=(good[0], 100), challenger=(bad, 100))

    async def test() -> None:
        assert (await served.ask()).served.name == "challenger"
        for _ in range(5):
            answer = await served.ask(age=99)
            assert answer.served.name == "champion"
            expected = good[0].probability({**PAYLOAD, "age": 99})
            assert answer.scored.probabilities.tolist() == [pytest.approx(expected, abs=1e-5)]
        # After so many failures it is left alone, also for what it could answer.
        assert (await served.ask()).served.name == "champion"

    run(test)
    assert served.count("challenger_fallbacks_total", reason="failed") == 5
    assert served.count("challenger_fallbacks_total", reason="resting") == 1


def test_the_champion_answers_for_a_challenger_that_is_late(root: Path, good: list[Built]) -> None:
    late = make_bundle(root, 12, change_folder=slow)
    served = Served(root, challenger_seconds=0.005)
    served.desire(champion=(good[0], 100), challenger=(late, 100))

    async def test() -> None:
        start = time.perf_counter()
        assert (await served.ask()).served.name == "champion"
        assert time.perf_counter() - start < 5
        answers = await asyncio.gather(*(served.ask(str(n)) for n in range(20)))
        assert {answer.served.name for answer in answers} == {"champion"}

    run(test)
    assert served.count("challenger_fallbacks_total", reason="late") >= 5


def test_a_shadow_that_is_behind_is_dropped_first(root: Path, good: list[Built]) -> None:
    late = make_bundle(root, 13, change_folder=slow)
    served = Served(root, answer_seconds=5)
    served.desire(champion=(good[0], 100), shadow=(late, 100))

    async def test() -> None:
        for wave in range(4):
            answers = await asyncio.gather(*(served.ask(f"{wave}-{n}") for n in range(50)))
            assert {answer.served.name for answer in answers} == {"champion"}

    run(test)
    assert served.count("shadow_total", outcome="dropped") > 0


def test_a_challenger_with_another_contract_gets_the_rows_it_can_read(
    root: Path, good: list[Built]
) -> None:
    contract = copy.deepcopy(CONTRACT)
    contract["columns"][0]["maximum"] = 90
    other = make_bundle(root, 14, contract=contract, change_golden=without_the_oldest)
    served = Served(root)
    served.desire(champion=(good[0], 100), challenger=(other, 100), shadow=(other, 100))

    async def test() -> None:
        assert (await served.ask(age=50)).served.name == "challenger"
        assert (await served.ask(age=100)).served.name == "champion"
        with pytest.raises(RowError):
            await served.ask(age=200)

    run(test)
    assert served.count("challenger_fallbacks_total", reason="refused") == 1
    assert served.count("shadow_total", outcome="failed") == 1


def test_a_bad_challenger_is_left_out_and_told(root: Path, good: list[Built]) -> None:
    bad = make_bundle(
        root, 15, change_golden=lambda rows: rows[0].update(expected_probability=0.123)
    )
    served = Served(root)
    served.desire(champion=(good[0], 100), challenger=(bad, 50), shadow=(good[1], 100))
    state = served.follower.state
    assert (state.problem, set(state.roles)) == (None, {"champion", "shadow"})
    assert "expected 0.123" in state.trial_problems["challenger"]
    # The next look without the bad one has nothing to tell.
    served.desire(champion=(good[0], 100), challenger=(good[2], 50), shadow=(good[1], 100))
    state = served.follower.state
    assert set(state.roles) == {"champion", "challenger", "shadow"}
    assert state.trial_problems == {}


def test_a_promotion_loads_nothing_twice(root: Path, good: list[Built]) -> None:
    served = Served(root)
    served.desire(champion=(good[0], 100), challenger=(good[1], 10))
    challenger = served.follower.state.roles["challenger"]
    served.desire(champion=(good[1], 100))
    champion = served.follower.state.champion
    assert champion is not None
    assert champion.bundle is challenger.bundle
    assert set(served.follower.state.roles) == {"champion"}


def test_who_was_on_trial_in_a_crash_is_off(root: Path, good: list[Built], tmp_path: Path) -> None:
    suspects = Suspects(tmp_path)
    served = Served(root, suspects)
    served.desire(champion=(good[0], 100), challenger=(good[1], 50), shadow=(good[0], 100))
    # The shadow is the champion's own bundle: a crash is no reason to turn that off.
    assert suspects.accuse(0, "a worker crashed with SIGSEGV") == [good[1].digest]
    served.follower.look()
    state = served.follower.state
    assert set(state.roles) == {"champion", "shadow"}
    assert state.trial_problems == {"challenger": "version 2 is off: a worker crashed with SIGSEGV"}
    # Another use case of the same worker has notes of its own.
    suspects.note(0, "churn", ["c" * 64])
    suspects.note(1, "churn", ["d" * 64])
    served.follower.look()
    assert suspects.accuse(0, "a worker crashed again") == ["c" * 64]
    assert set(served.follower.state.roles) == {"champion", "shadow"}
    # Nothing is on trial any more: another crash turns nothing off.
    assert suspects.accuse(0, "again") == []


def test_notes_that_cannot_be_written_keep_nobody_from_following(
    root: Path, good: list[Built], tmp_path: Path
) -> None:
    folder = tmp_path / "notes"
    suspects = Suspects(folder)
    served = Served(root, suspects)
    for champion, challenger in ((good[0], good[1]), (good[1], good[2])):
        served.desire(champion=(champion, 100), challenger=(challenger, 50))
        state = served.follower.state
        assert state.champion is not None
        assert state.champion.role.version == champion.version
        assert "good-heart_disease.json: cannot be noted: No such file" in str(state.problem)
        # A crash of it could not be told from one of the champion.
        assert set(state.roles) == {"champion"}
        assert "trial-0-heart_disease.json: cannot be noted" in state.trial_problems["challenger"]
    suspects.keep()
    served.follower.look()
    state = served.follower.state
    assert (state.problem, set(state.roles)) == (None, {"champion", "challenger"})
    # Nor do cleaners of temporary files take what is in use.
    os.utime(folder / "good-heart_disease.json", (0, 0))
    suspects.touch()
    assert all(time.time() - path.stat().st_mtime < 60 for path in folder.iterdir())
    # What is off stays off when the folder is gone.
    assert suspects.accuse(0, "a worker crashed") == [good[2].digest]
    shutil.rmtree(folder)
    served.follower.look()
    assert set(served.follower.state.roles) == {"champion"}
    assert suspects.reasons() == {good[2].digest: "a worker crashed"}


def test_a_path_that_names_another_bundle_is_refused_at_once(root: Path, good: list[Built]) -> None:
    served = Served(root)
    served.desire(champion=(good[0], 100))
    desire(root, None, roles={"champion": {**good[0].role, "bundle": good[1].path}})
    served.follower.look()
    state = served.follower.state
    assert "expected content digest" in str(state.problem)
    assert state.champion is not None
    assert state.champion.role.bundle == good[0].path


def test_a_challenger_without_a_share_gets_nothing(root: Path, good: list[Built]) -> None:
    served = Served(root)
    challenger = {key: value for key, value in good[1].role.items() if key != "percent"}
    desire(root, None, roles={"champion": good[0].role, "challenger": challenger})
    served.follower.look()
    assert "challenger" in served.follower.state.roles
    assert asyncio.run(served.ask()).served.name == "champion"
