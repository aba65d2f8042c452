"""Whether the rows have drifted since the champion was trained, as drift is judged everywhere."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlops_assets.lib.drift.sides import Pair, connected
from mlops_assets.lib.drift.version import inputs
from mlops_assets.lib.drift.window import compare_on
from mlops_assets.lib.parquet import literal
from mlops_assets.lib.spec.drift import Drift

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from serving.bundle.contract import Contract

    Flags = NDArray[np.bool_]


def drifted(contract: Contract, rows: Path, old: Flags, new: Flags, plan: Drift) -> str | None:
    """Say which inputs have drifted.

    Args:
        contract: What the champion reads.
        rows: Parquet with these columns.
        old: Which rows of it are the reference, shape ``[n]``, in the order of the file.
        new: Which rows are compared with it, likewise.
        plan: When rows have drifted.

    Returns:
        In a sentence; None if they have not, or there are too few to tell.
    """
    import numpy as np
    import pyarrow as pa

    with connected() as database:
        numbers = np.arange(len(old))
        database.register("sides", pa.table({"number": numbers, "old": old, "new": new}))
        database.execute(
            f"""
            create view sided as
            select i.*, s.old as "side old", s.new as "side new"
            from read_parquet('{literal(rows).replace("'", "''")}', file_row_number = true) i
            join sides s on i.file_row_number = s.number
            """
        )
        reference, current = (
            f'(select * from sided where "side {side}")' for side in ("old", "new")
        )
        window = compare_on(database, [Pair(reference, current, inputs(contract, ""))], plan)
    return window.reason if window.drifted else None
