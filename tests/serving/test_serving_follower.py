import json
import logging
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.roles.follower import Follower
from serving.settings import Settings
from serving.storage.origin import open_origin
from tests.serving.bundles import USE_CASE, Built, desire, make_bundle, write_state


def follower_of(root: Path) -> Follower:
    settings = Settings(use_cases=(USE_CASE,), storage_root=str(root), poll_seconds=0.2)
    return Follower(
        USE_CASE, settings, open_origin(USE_CASE, settings), Metrics(), PredictionLog(settings)
    )


def version(follower: Follower) -> str | None:
    return follower.state.champion.role.version if follower.state.champion else None


@pytest.fixture(scope="session")
def templates(tmp_path_factory: pytest.TempPathFactory) -> list[Built]:
    root = tmp_path_factory.mktemp("templates")
    return [make_bundle(root, seed) for seed in (1, 2)]


@pytest.fixture
def first(tmp_path: Path, templates: list[Built]) -> Built:
    shutil.copytree(templates[0].folder, tmp_path / templates[0].path)
    return replace(templates[0], root=tmp_path)


@pytest.fixture
def second(tmp_path: Path, templates: list[Built]) -> Built:
    shutil.copytree(templates[1].folder, tmp_path / templates[1].path)
    return replace(templates[1], root=tmp_path)


@pytest.fixture
def follower(tmp_path: Path, first: Built) -> Follower:
    """A follower that serves version 1."""
    desire(tmp_path, first)
    follower = follower_of(tmp_path)
    follower.look()
    assert (version(follower), follower.state.problem) == ("1", None)
    return follower


def test_nothing_to_follow_yet(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    follower = follower_of(tmp_path)
    before = follower.state.looked
    follower.look()
    follower.look()
    assert (before, follower.state.looked) == (False, True)
    assert follower.state.champion is None
    assert "dev.json: no desired state: No such file" in str(follower.state.problem)
    assert len(caplog.records) == 1
    desire(tmp_path, make_bundle(tmp_path, 7))
    follower.look()
    assert (version(follower), follower.state.problem) == ("7", None)


def test_swap_and_back(tmp_path: Path, first: Built, second: Built, follower: Follower) -> None:
    for built in (second, first, second):
        desire(tmp_path, built)
        follower.look()
        assert version(follower) == built.version
        assert follower.state.desired is not None
        assert follower.state.desired.roles["champion"].digest == built.digest


def test_a_state_that_is_copied_over_in_place_is_followed(
    tmp_path: Path, first: Built, second: Built, follower: Follower
) -> None:
    path = desire(tmp_path, first)
    follower.look()
    before, text = path.stat(), path.read_text()
    path.write_text(
        text.replace(first.digest, second.digest).replace('"version": "1"', '"version": "2"')
    )
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    after = path.stat()
    for kept in ("st_mtime_ns", "st_size", "st_ino"):
        assert getattr(before, kept) == getattr(after, kept)
    follower.look()
    assert version(follower) == "2"


def test_unchanged_champion_is_not_loaded_again(
    tmp_path: Path, first: Built, follower: Follower
) -> None:
    before = follower.state.champion
    follower.look()
    assert follower.state.champion is before
    desire(tmp_path, first, updated_at="another time")
    follower.look()
    assert follower.state.champion is before


def test_new_version_of_the_same_content_keeps_the_loaded_bundle(
    tmp_path: Path, first: Built, follower: Follower
) -> None:
    assert follower.state.champion is not None
    before = follower.state.champion.bundle
    desire(tmp_path, first, roles={"champion": {**first.role, "version": "2"}})
    follower.look()
    assert version(follower) == "2"
    assert follower.state.champion.bundle is before


def test_unknown_roles_do_no_harm(tmp_path: Path, second: Built, follower: Follower) -> None:
    roles = {"champion": second.role, "challenger": {"digest": 5}, "shadow": None}
    desire(tmp_path, second, roles=roles)
    follower.look()
    assert (version(follower), follower.state.problem) == ("2", None)


def test_a_version_is_one_bundle(
    tmp_path: Path, first: Built, second: Built, follower: Follower
) -> None:
    challenger = {**second.role, "version": first.version}
    # One bundle under two versions can be told apart.
    shadow = {**first.role, "version": "3"}
    desire(
        tmp_path,
        None,
        roles={"champion": first.role, "challenger": challenger, "shadow": shadow},
    )
    follower.look()
    assert set(follower.state.roles) == {"champion", "shadow"}
    problem = "roles.challenger.version: '1' is the version of another role, with another digest"
    assert problem in str(follower.state.trial_problems["challenger"])
    assert follower.state.problem is None


@pytest.mark.parametrize(
    ("write", "problem"),
    [
        (lambda root, good: write_state(root, "{"), "cannot be read: Expecting property name"),
        (lambda root, good: write_state(root, ""), "cannot be read"),
        (lambda root, good: write_state(root, "[]"), "dev.json: must be a JSON object, found []"),
        (lambda root, good: write_state(root, '":"'), "dev.json: must be a JSON object, found ':'"),
        (lambda root, good: write_state(root, "[" * 10**5), "cannot be read"),
        (
            lambda root, good: desire(root, good, schema_version=2),
            "schema_version: Input should be 1, found 2",
        ),
        (
            lambda root, good: desire(root, good, use_case="churn"),
            "use_case: expected 'heart_disease', found 'churn'",
        ),
        (
            lambda root, good: desire(root, good, roles=None),
            "roles: Input should be a valid dictionary, found None",
        ),
        (
            lambda root, good: desire(root, good, roles={"champion": {"version": "2"}}),
            "dev.json: roles.champion.bundle: Field required",
        ),
        (
            lambda root, good: desire(root, good, roles={"champion": 5}),
            "dev.json: roles.champion: must be a JSON object, found 5",
        ),
        (
            lambda root, good: desire(root, good, roles={"champion": {**good.role, "version": ""}}),
            "version: String should match",
        ),
        (
            lambda root, good: desire(
                root, good, roles={"champion": {**good.role, "digest": "A" * 64}}
            ),
            "digest: String should match",
        ),
        (
            lambda root, good: desire(
                root, good, roles={"champion": {**good.role, "digest": "0" * 64}}
            ),
            "expected content digest 0000",
        ),
        (
            lambda root, good: desire(
                root, good, roles={"champion": {**good.role, "bundle": "../../etc"}}
            ),
            "bundle '../../etc' lies outside the storage root",
        ),
        (
            lambda root, good: desire(
                root, good, roles={"champion": {**good.role, "bundle": "/etc"}}
            ),
            "bundle '/etc' lies outside the storage root",
        ),
        (
            lambda root, good: desire(
                root, good, roles={"champion": {**good.role, "bundle": "heart_disease/none"}}
            ),
            "manifest.json: missing",
        ),
        (lambda root, good: desire(root, None).unlink(), "no desired state: No such file"),
    ],
)
def test_bad_state_leaves_the_last_good_bundle(
    tmp_path: Path,
    second: Built,
    follower: Follower,
    caplog: pytest.LogCaptureFixture,
    write: Callable[[Path, Built], Any],
    problem: str,
) -> None:
    write(tmp_path, second)
    caplog.clear()
    for _ in range(3):
        follower.look()
        # As if the wait had passed: the reason is still logged once.
        follower._retry_at = 0
    assert version(follower) == "1"
    assert problem in str(follower.state.problem)
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    desire(tmp_path, second)
    follower.look()
    assert (version(follower), follower.state.problem) == ("2", None)


def test_wrong_environment(tmp_path: Path, follower: Follower) -> None:
    state = json.loads((tmp_path / USE_CASE / "desired" / "dev.json").read_text())
    write_state(tmp_path, json.dumps({**state, "environment": "production"}))
    follower.look()
    assert "environment: expected 'dev', found 'production'" in str(follower.state.problem)


def test_broken_bundle_leaves_the_last_good_one_and_recovers(
    tmp_path: Path, second: Built, follower: Follower
) -> None:
    model = second.folder / "model.onnx"
    good = model.read_bytes()
    model.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    desire(tmp_path, second)
    follower.look()
    assert version(follower) == "1"
    assert "model.onnx: expected sha256" in str(follower.state.problem)
    assert (
        b'serving_bundle_failures_total{use_case="heart_disease"} 1.0' in follower._metrics.text()
    )

    # The state is unchanged, the file arrives: found by the retry, and not before it is due.
    model.write_bytes(good)
    follower.look()
    assert version(follower) == "1"
    follower._retry_at = 0
    follower.look()
    assert (version(follower), follower.state.problem) == ("2", None)


def test_retries_grow_apart_up_to_a_limit(tmp_path: Path, follower: Follower) -> None:
    write_state(tmp_path, "{")
    waits = []
    for _ in range(10):
        follower.look()
        waits.append(round(follower._retry_at - time.monotonic(), 1))
        follower._retry_at = 0
    assert waits == [0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0]


def test_withdrawn_and_back(tmp_path: Path, first: Built, follower: Follower) -> None:
    desire(tmp_path, None)
    follower.look()
    assert follower.state.champion is None
    assert "withdrawn: names no champion" in str(follower.state.problem)
    text = follower._metrics.text()
    assert b'serving_ready{use_case="heart_disease"} 0.0' in text
    assert b"serving_bundle_info{" not in text
    desire(tmp_path, first)
    follower.look()
    assert (version(follower), follower.state.problem) == ("1", None)


def test_unexpected_error_is_logged_with_its_trace_and_survived(
    tmp_path: Path, second: Built, follower: Follower, caplog: pytest.LogCaptureFixture
) -> None:
    # Half a surrogate pair can be read but not written, so no digest can be taken of it.
    (second.folder / "manifest.json").write_text('{"schema_version": 1, "use_case": "\\ud800"}')
    desire(tmp_path, second)
    caplog.set_level(logging.ERROR)
    follower.look()
    assert version(follower) == "1"
    assert "UnicodeEncodeError" in str(follower.state.problem)
    (record,) = caplog.records
    assert record.exc_info is not None


def test_metrics_name_only_the_bundle_that_serves(
    tmp_path: Path, first: Built, second: Built, follower: Follower
) -> None:
    desire(tmp_path, second)
    follower.look()
    text = follower._metrics.text().decode()
    assert 'role="champion",use_case="heart_disease",version="2"' in text
    assert first.digest not in text
    assert 'serving_swaps_total{use_case="heart_disease"} 2.0' in text
    assert 'serving_ready{use_case="heart_disease"} 1.0' in text
