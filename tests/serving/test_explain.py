import asyncio
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from serving.api.explain import Explainer, explain
from serving.bundle.loaded import Bundle
from serving.bundle.manifest import BundleError
from serving.prediction_log.streams import Predictions
from serving.roles.desired import Role
from serving.roles.follower import Served
from serving.roles.lane import BusyError, Lane
from tests.serving.bundles import FEATURES, PAYLOAD, ROWS, USE_CASE, Built, desire, make_bundle
from tests.serving.server import Server


def without_background(folder: Path) -> None:
    (folder / "reference.json").write_text("{}")


@pytest.fixture(scope="module")
def steady(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A champion that can explain, and a challenger of before bundles could."""
    root = tmp_path_factory.mktemp("steady")
    champion, challenger = (
        make_bundle(root, 1),
        make_bundle(root, 2, change_folder=without_background),
    )
    desire(
        root,
        champion,
        roles={"champion": champion.role, "challenger": challenger.role | {"percent": 0}},
    )
    server = Server(root)
    server.wait_for("1")
    server.wait_for_challenger()
    yield server
    server.stop()


def ask(server: Server, payload: Any, status: int = 200, **query: str) -> Any:
    answer = server.client.post("/explain", json=payload, params=query)
    assert answer.status_code == status, answer.text
    return answer.json()


def test_contributions_add_up_to_the_answer(steady: Server) -> None:
    found = ask(steady, ROWS)
    assert len(found) == len(ROWS)
    for row, explained in zip(ROWS, found, strict=True):
        predicted = steady.predict(row).json()
        for name in ("use_case", "version", "digest", "role", "class", "label"):
            assert explained[name] == predicted[name], name
        assert explained["probability"] == pytest.approx(predicted["probability"], abs=1e-6)
        parts = [each["contribution"] for each in explained["contributions"]]
        moved = explained["probability"] - explained["base_value"]
        assert sum(parts) == pytest.approx(moved, abs=1e-6)
        assert parts == sorted(parts, key=abs, reverse=True)
        assert {each["feature"] for each in explained["contributions"]} == set(FEATURES)


def test_same_row_gets_the_same_explanation_alone_or_among_others(steady: Server) -> None:
    alone = ask(steady, ROWS[1])
    assert ask(steady, ROWS[1]) == alone
    again = ask(steady, [*ROWS, ROWS[1]])
    for found in (again[1], again[-1]):
        assert found["contributions"] == alone["contributions"]


def test_values_are_those_that_the_model_saw(steady: Server) -> None:
    found = {each["feature"]: each["value"] for each in ask(steady, ROWS[1])["contributions"]}
    assert found["age"] == 18.0
    assert found["oldpeak"] == 2.3
    assert found["chol"] is None


def test_what_cannot_be_explained_is_refused(steady: Server) -> None:
    found = ask(steady, [PAYLOAD] * 11, 422)
    assert found["detail"][0]["msg"] == "must hold 1 to 10 rows; got 11"
    assert ask(steady, [PAYLOAD, {**PAYLOAD, "cp": 9}], 422)["detail"][0]["loc"] == [
        "body",
        1,
        "cp",
    ]
    assert ask(steady, {**PAYLOAD, "oldpeak": 1e39}, 422)["detail"][0]["type"] == "feature_error"
    found = ask(steady, PAYLOAD, 409, version="2")
    assert found["detail"].startswith("version 2 has no background rows to compare an answer with")
    found = ask(steady, PAYLOAD, 404, version="3")
    assert found == {"detail": "heart_disease: this version does not answer; ask version 1 or 2"}
    assert steady.client.post("/explain/churn", json=PAYLOAD).status_code == 404


def test_few_may_wait(bundle: Bundle) -> None:
    role = Role(version="1", bundle="b", digest=bundle.digest)
    stream = Predictions.of(bundle, "dev", "champion", "1")
    served = Served("champion", role, bundle, Lane(bundle, 1, lambda *_: None), stream)
    explainer = Explainer()

    async def crowd() -> list[Any]:
        asking = [explainer.explain(served, [PAYLOAD]) for _ in range(10)]
        found = await asyncio.gather(*asking, return_exceptions=True)
        # Those who waited are gone, and there is room again.
        return [*found, *await explainer.explain(served, [PAYLOAD])]

    *found, last = asyncio.run(crowd())
    explainer.stop()
    assert [type(each) for each in found] == [list] * 8 + [BusyError] * 2
    assert found[0] == [last]


@pytest.mark.skipif(sys.platform != "linux", reason="threads have no niceness of their own")
def test_answers_come_first(
    steady: Server, bundle: Bundle, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(steady, PAYLOAD)
    (worker,) = psutil.Process(steady.process.pid).children()
    nice = [os.getpriority(os.PRIO_PROCESS, thread.id) for thread in worker.threads()]
    assert sorted(nice) == [*[0] * (len(nice) - 1), 10]

    real, asked = Bundle.probabilities, []

    def counting(self: Bundle, points: Any) -> Any:
        asked.append(len(points))
        return real(self, points)

    monkeypatch.setattr(Bundle, "probabilities", counting)
    explain(bundle, [bundle.contract.validate_row(PAYLOAD)])
    # Two walks for each background row, which take a step for each feature.
    assert (
        sum(asked) == len(bundle.background) * 2 * (len(FEATURES) + 1) + len(bundle.background) + 1
    )
    assert max(asked) == 256


def test_example_may_be_explained_by_a_part_of_the_background(bundle: Bundle) -> None:
    row = bundle.contract.validate_row(PAYLOAD)
    (whole,), (part,) = explain(bundle, [row]), explain(bundle, [row], 4)
    assert whole.probability == part.probability
    assert whole.base != part.base
    assert part.contributions.sum() == pytest.approx(part.probability - part.base, abs=1e-6)


@pytest.mark.parametrize(
    "background", ["[[1, 2]]", '[["a"]]', "3", "[[1e400]]", '{"a": 1}', "[[1], [1, 2]]"]
)
def test_background_that_is_none_refuses_the_bundle(tmp_path: Path, background: str) -> None:
    def change(folder: Path) -> None:
        (folder / "reference.json").write_text(f'{{"background": {background}}}')

    built: Built = make_bundle(tmp_path, change_folder=change)
    with pytest.raises(BundleError, match=r"reference\.json: background"):
        Bundle.load(built.folder, built.digest, USE_CASE)


def test_background_of_nine_features_may_hold_gaps(bundle: Bundle) -> None:
    assert bundle.background.shape == (20, len(FEATURES))
    assert np.isnan(bundle.background).any()
