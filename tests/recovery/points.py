"""The named points, as wrappers around the functions of the project where they lie.

Nothing in the project knows of them: the code location of these tests installs them before it loads
the real definitions, and every process of a run loads that location.
"""

import os
import signal
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

VARIABLE = "MLOPS_TEST_KILL_AT"


def kill_once(point: str, first: Callable[[], None] = lambda: None) -> None:
    """Kill this process as ``kill -9`` does, the first time that the point is reached.

    Args:
        point: Its name.
        first: What is done right before.
    """
    marker = home() / "killed" / point
    marker.parent.mkdir(exist_ok=True)
    try:
        marker.touch(exist_ok=False)
    except FileExistsError:
        return
    first()
    os.kill(os.getpid(), signal.SIGKILL)


def home() -> Path:
    """Of the state that is worked on."""
    return Path(os.environ["MLOPS_HOME"])


def around(
    owner: Any,
    name: str,
    *,
    before: Callable[..., None] | None = None,
    after: Callable[..., None] | None = None,
) -> None:
    """Put calls before and after a function."""
    original = getattr(owner, name)

    @wraps(original)
    def wrapped(*arguments: Any, **options: Any) -> Any:
        if before is not None:
            before(*arguments, **options)
        result = original(*arguments, **options)
        if after is not None:
            after(*arguments, **options)
        return result

    setattr(owner, name, wrapped)


def _raw() -> None:
    from mlops_assets.stages import raw

    def half(source: Path, partial: Path, *_: object) -> None:
        kill_once("raw", lambda: os.truncate(partial, partial.stat().st_size // 2))

    around(raw, "read_table", after=half)


def _dbt() -> None:
    from mlops_assets.stages import features

    around(features, "run_dbt", after=lambda *_: kill_once("dbt"))


def _search() -> None:
    from mlops_assets.lib.training import train

    def second(algorithm: Any, rows: Any, target: Any, plan: Any, stream: int, *_: Any) -> None:
        if stream == 2:
            kill_once("search")

    around(train, "search", before=second)


def _mlflow() -> None:
    from mlops_assets.stages import candidates

    # The parameters are logged, the metrics are not.
    def half(tracked: Any, record: Any, files: Path) -> None:
        kill_once("mlflow", lambda: tracked.log_params({"half": "logged"}))

    around(candidates, "_log", before=half)


def _registered() -> None:
    from mlops_assets.resources import MlflowTracking

    around(MlflowTracking, "register", after=lambda *_: kill_once("registered"))


def _ledger() -> None:
    # The line is written under a temporary name and has no place in the chain yet.
    def linking(partial: Path, target: Path) -> None:
        if target.parent.name == "ledger":
            kill_once("ledger")

    around(os, "link", before=linking)


def _rollout() -> None:
    from mlops_assets.resources import MlflowTracking

    around(MlflowTracking, "crown", before=lambda *_: kill_once("rollout"))


# In the order in which a batch meets them.
POINTS: dict[str, tuple[str, Callable[[], None]]] = {
    "raw": ("while raw is written", _raw),
    "dbt": ("between dbt's write and its publication", _dbt),
    "search": ("in the middle of a search", _search),
    "mlflow": ("while MLflow logs", _mlflow),
    "registered": ("between registration and the ledger", _registered),
    "ledger": ("in the middle of the ledger's line", _ledger),
    "rollout": ("between desired state and alias", _rollout),
}


def install() -> None:
    """Put the points in place that the environment names."""
    for point in filter(None, os.environ.get(VARIABLE, "").split(",")):
        POINTS[point][1]()
