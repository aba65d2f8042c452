"""The data that the gate works on: files that are named, or those that the spec names."""

import os
import time
from collections.abc import Iterable
from pathlib import Path

from mlops_assets import home
from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.records.batches import Batches, batch_key
from mlops_assets.lib.sources.fetch import fetch
from mlops_assets.lib.spec.use_case import UseCase


class MissingDataError(ValueError):
    """There is nothing to work on; the message says how to name it."""


def land(spec: UseCase, batches: Batches, files: Iterable[Path]) -> list[str]:
    """Land the data.

    Args:
        spec: Says what the reference data are: ``gate.reference_data``, or else what its synthetic
            sources give.
        batches: Of the use case.
        files: To land in their place.

    Returns:
        The keys of the batches, in the order of the files.

    Raises:
        MissingDataError: If a file is not there, or nothing is named.
    """
    files = list(files) or [home.PROJECT / name for name in spec.gate.reference_data]
    for file in files:
        if not file.is_file():
            raise MissingDataError(f"there is no file {file}")
        batches.land(file)
    keys = [batch_key(file.name, file_digest(file)) for file in files]
    if not files:
        for source in spec.sources:
            if source.kind == "synthetic":
                keys += [landed.key for landed in fetch(source, batches, os.environ).new]
    if not keys:
        raise MissingDataError(
            f"{spec.name} names no reference data (gate.reference_data) and has no synthetic "
            "source: name a file with --data"
        )
    # What has just landed is whole, and need not settle.
    batches.look(time.time() + 10)
    return list(dict.fromkeys(keys))
