"""The background: features of usual rows, which an explanation compares an answer with."""

import json
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from serving.bundle.manifest import BundleError

_KEY: Final = "background"


def read_background(path: Path, features: int) -> NDArray[np.float32]:
    """Read the background of `reference.json`.

    Args:
        path: The file, which is known to be JSON.
        features: How many the model has.

    Returns:
        float32 `[rows, features]`, NaN where a feature is null. No rows if the bundle was written
        before bundles had them.

    Raises:
        BundleError: It is no table of numbers with that many columns.
    """
    rows = json.loads(path.read_bytes()).get(_KEY, [])
    try:
        # null becomes NaN.
        found = np.array(rows, dtype=np.float32).reshape(len(rows), features)
    except (TypeError, ValueError, OverflowError):
        raise BundleError(f"{path}: {_KEY}: expected rows of {features} numbers") from None
    if np.isinf(found).any():
        raise BundleError(f"{path}: {_KEY}: holds an infinite number")
    return found
