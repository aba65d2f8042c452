"""Synthetic sources: data of any size whose best reachable score is known.

A generator is the options that a person or a spec may set, and a function that writes one file. Its
rows look like those of any other source; the true probabilities behind them are never written.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mlops_assets.lib.synthetic.churn import ChurnOptions
from mlops_assets.lib.synthetic.writing import Summary, write

__all__ = ["GENERATORS", "ChurnOptions", "Generator", "Summary", "write"]


@dataclass(frozen=True)
class Generator:
    """One kind of synthetic data.

    Attributes:
        help: What it draws, in a line.
        options: What can be set; every field has a default.
        write: Writes one file: the same options give the same bytes.
    """

    help: str
    options: type[ChurnOptions]
    write: Callable[[ChurnOptions, Path], Summary]


# By the use case that the rows are for.
GENERATORS = {
    "churn": Generator("customers of a telephone company, and who leaves", ChurnOptions, write)
}
