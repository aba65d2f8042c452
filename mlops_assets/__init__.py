"""An MLOps platform for tabular classifiers as a Dagster asset graph.

The component is found here by name, and imported only when it is asked for: the ``mlops`` command
and ``mlops_assets.lib`` must not pay for Dagster.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlops_assets.use_case import TabularClassifier

__all__ = ["TabularClassifier"]


def __getattr__(name: str) -> Any:
    if name in __all__:
        from mlops_assets import use_case

        return getattr(use_case, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
