"""Kills around a person's decisions: approval, rollout and rollback.

Each kill hits a process that carries out a decision at one of its steps; what is left is finished
as the rollout sensor would. Then desired state, alias, ledger and the app's answers must agree.
``python -m tests.recovery.decisions`` kills at every point, one after the other; with arguments it
is the process that is killed.
"""

import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dagster as dg

from mlops_assets.lib.bundles.sandbox import free_port
from mlops_assets.lib.features.dbt_project import feature_model, prepare
from mlops_assets.lib.records import desired_state
from mlops_assets.lib.records.history import awaiting_approval, awaiting_rollout, champion
from mlops_assets.lib.records.ledger import Ledger
from mlops_assets.operations.decide import decide
from mlops_assets.resources import LocalTarget, MlflowTracking
from mlops_assets.rollout.rollback import decide_rollback
from mlops_assets.rollout.rollout import Rollout
from mlops_assets.stages.evidence import batch_checks
from tests.platform import (
    DATA,
    HEART,
    Platform,
    environment,
    impatient_spec,
    platform,
    quick_definitions,
    serving,
)
from tests.recovery.points import around, kill_once
from tests.stages.test_gate import replay, same
from tests.versions import variant


def _writing(decision: str, *, late: bool = False) -> Callable[[], None]:
    """Killed right before an entry takes its place in the ledger, or right after."""

    def install() -> None:
        def reached(_: Any, kind: str, *__: Any, **___: Any) -> None:
            if kind == decision:
                kill_once(f"{decision}-{late}")

        around(Ledger, "append", **{"after" if late else "before": reached})

    return install


def _on(owner: Any, name: str, *, late: bool = False) -> Callable[[], None]:
    """Killed right before a function, or right after."""

    def install() -> None:
        def reached(*_: Any, **__: Any) -> None:
            kill_once(f"{name}-{late}")

        around(owner, name, **{"after" if late else "before": reached})

    return install


_STEPS: dict[str, Callable[[], None]] = {
    "before the rollout's first line": _writing("rolling_out"),
    "after the rollout's first line": _writing("rolling_out", late=True),
    "before the desired state": _on(desired_state, "write"),
    "after the desired state": _on(desired_state, "write", late=True),
    "before the app has followed": _on(LocalTarget, "wait_for"),
    "before the smoke test": _on(LocalTarget, "predict"),
    "before the alias": _on(MlflowTracking, "crown"),
    "after the alias": _on(MlflowTracking, "crown", late=True),
    "after the last line": _writing("promoted", late=True),
}
POINTS: dict[str, dict[str, Callable[[], None]]] = {
    "approve": {
        "before the approval": _writing("approved"),
        "after the approval": _writing("approved", late=True),
    },
    "rollout": dict(_STEPS),
    "rollback": {
        "before the rollback's line": _writing("rolled_back"),
        "after the rollback's line": _writing("rolled_back", late=True),
        **{name: point for name, point in _STEPS.items() if name != "before the desired state"},
    },
}


def instance(home: Path) -> dg.DagsterInstance:
    """Dagster's records, kept in files: the process that is killed reads them, too."""
    folder = home / "dagster"
    folder.mkdir(exist_ok=True)
    return dg.DagsterInstance.local_temp(str(folder))


def carry_out(made: Platform, what: str) -> None:
    """Decide, or carry out what was decided, as a person or a run does."""
    if what == "approve":
        model = feature_model(prepare(HEART, made.spec.contract), HEART)
        decide(
            made.instance,
            made.store,
            made.spec,
            lambda lineage: batch_checks(made.spec, model, lineage),
            "approve",
            "1",
            actor="ann",
            reason="fine",
        )
        return
    if what == "rollback":
        move = decide_rollback(made.store, made.ledger, to="1", actor="ann", reason="alarms")
    else:
        found = awaiting_rollout(made.ledger.verify())
        assert found is not None
        move = found
    Rollout(made.spec, made.store, made.ledger, made.mlflow, made.target).carry_out(move, "ann")


def killed(what: str, point: str, trained: Platform, home: Path) -> None:
    """Kill at a point, finish as the sensors would, and see that everything agrees.

    Args:
        what: ``approve``, ``rollout`` or ``rollback``.
        point: One of its ``POINTS``.
        trained: A platform with one approved version.
        home: An empty folder.

    Raises:
        AssertionError: If desired state, alias, ledger and answers disagree, or the wrong version
            serves.
    """
    url = f"http://127.0.0.1:{free_port()}"
    spec = impatient_spec()
    with instance(home) as kept:
        made = Platform(home, kept, quick_definitions(spec), url, spec=spec)
        replay(trained, made, same)
        _prepare(made, what, trained.ledger.entries()[0])
        with serving(made):
            command = [sys.executable, "-m", "tests.recovery.decisions"]
            command += [what, point, str(home), url]
            done = subprocess.run(
                command, env=environment(home), capture_output=True, text=True, check=False
            )
            assert done.returncode == -signal.SIGKILL, done.stderr[-3000:]
            if what == "approve" and awaiting_approval(made.ledger.verify()):
                carry_out(made, what)
            # One that was killed before its first line was not decided: it is asked for again.
            if what == "rollback" and (champion(made.ledger.verify()) or {})["version"] == "2":
                carry_out(made, what)
            while awaiting_rollout(made.ledger.verify()) is not None:
                assert made.run("deploy").success
            wanted = "2" if what == "rollout" else "1"
            crowned = champion(made.ledger.verify()) or {}
            state = desired_state.read(made.store, HEART, "dev")
            found = {
                "desired state": state["champion"]["digest"],
                "ledger": crowned["bundle"],
                "app": made.target.model(HEART)["digest"],
            }
            assert crowned["version"] == wanted
            assert made.mlflow.champion(HEART) == wanted
            assert len(set(found.values())) == 1, found
            # Nothing was written twice.
            decisions = Counter(entry["decision"] for entry in made.ledger.verify())
            assert decisions["rolled_back"] == int(what == "rollback"), decisions
            assert decisions["rolling_out"] == 1, decisions
            assert decisions["promoted"] == {"approve": 1, "rollout": 2, "rollback": 3}[what]


def _prepare(made: Platform, what: str, first: dict[str, Any]) -> None:
    names = ("version", "bundle", "path", "training_set", "wanted", "batches", "checks", "actor")
    about = {name: first[name] for name in names}
    if what == "approve":
        made.ledger.append("pending", about)
        return
    made.ledger.append("approved", about)
    serve(made, made.ledger.append("promoted", about | {"decision_of": 1}))
    second = variant(made, "2", 0.4)
    made.ledger.append("approved", second)
    if what == "rollback":
        serve(made, made.ledger.append("promoted", second | {"decision_of": 3}))


def serve(made: Platform, entry: dict[str, Any]) -> None:
    """Desired state and alias as an entry of the ledger wants them."""
    role = {"version": entry["version"], "bundle": entry["path"], "digest": entry["bundle"]}
    state = {"champion": {**role, "percent": 100}}
    desired_state.write(made.store, HEART, "dev", state, decision=entry["sequence"])
    made.mlflow.crown(HEART, entry["version"])


def main() -> int:
    """Every point in turn; print the table."""
    survived: list[tuple[str, str, bool]] = []
    with tempfile.TemporaryDirectory() as scratch, platform(Path(scratch)) as trained:
        key = trained.land(DATA / "heart_cleveland.csv")
        assert trained.ingest(key).success
        assert trained.run("retrain").success
        for what, points in POINTS.items():
            for point in points:
                with tempfile.TemporaryDirectory() as home:
                    try:
                        killed(what, point, trained, Path(home))
                        well = True
                    except AssertionError as error:
                        print(f"  {error}")
                        well = False
                survived.append((what, point, well))
                print(f"{what}, {point}: {'survived' if well else 'DID NOT SURVIVE'}", flush=True)
    print("\n| killed | survived | of |\n| --- | --- | --- |")
    for what in POINTS:
        mine = [well for name, _, well in survived if name == what]
        print(f"| in {len(mine)} places of {what} | {sum(mine)} | {len(mine)} |")
    return int(not all(well for *_, well in survived))


def _be_killed(what: str, point: str, home: Path, url: str) -> None:
    spec = impatient_spec()
    POINTS[what][point]()
    with instance(home) as kept:
        carry_out(Platform(home, kept, quick_definitions(spec), url, spec=spec), what)


if __name__ == "__main__":
    if len(sys.argv) == 5:
        _be_killed(sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4])
        sys.exit("it was not killed")
    sys.exit(main())
