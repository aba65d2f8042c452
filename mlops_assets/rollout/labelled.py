"""What turned out to be true of a step's answers, where labels come in time.

With most use cases they come in days, and a step is over; where a customer clicks or a payment
bounces within minutes, they are the best judge there is. Files of the log that were written since
the step began are read, answers and labels.
"""

import tempfile
from datetime import datetime
from pathlib import Path

from mlops_assets.lib.performance import answers
from mlops_assets.lib.records.prediction_log import KINDS, Kind, days
from mlops_assets.lib.rollout_analysis.sample import Labelled
from mlops_assets.lib.spec.use_case import UseCase
from mlops_assets.lib.storage.root import Storage

# Role and version.
Answerer = tuple[str, str]


def labelled(store: Storage, spec: UseCase, since: datetime) -> dict[Answerer, Labelled]:
    """How many answers have a label, and how many of these were wrong, by who answered.

    Args:
        store: The storage root.
        spec: The use case.
        since: When the step began, with a time zone.
    """
    import numpy as np

    from serving.prediction_log.streams import class_text

    found: dict[Answerer, Labelled] = {}
    with tempfile.TemporaryDirectory() as scratch:
        folders = {kind: Path(scratch) / kind for kind in KINDS}
        # Labels first: as a rule there are none, and the answers need not be fetched.
        if not _gather(store, spec, "feedback", since, folders["feedback"]):
            return found
        if not _gather(store, spec, "served", since, folders["served"]):
            return found
        with answers.day(folders["served"], [folders["feedback"]]) as read:
            for each in read.answers(class_text(spec.contract.target.negative), ()):
                known = ~np.isnan(each.target)
                said = each.probability[known] >= each.threshold
                wrong = int((said != (each.target[known] == 1)).sum())
                before = found.get((each.role, each.version), Labelled())
                found[each.role, each.version] = Labelled(
                    before.rows + int(known.sum()), before.wrong + wrong
                )
    return found


def _gather(store: Storage, spec: UseCase, kind: Kind, since: datetime, folder: Path) -> int:
    """Bring the files together that are new since then; how many there are."""
    folder.mkdir()
    count = 0
    for day, key in days(store, spec.name, kind).items():
        if day < since.date():
            continue
        for file in store.files(key):
            if file.changed >= since.timestamp() and file.key.endswith(".parquet"):
                (folder / f"{count:06d}.parquet").symlink_to(store.local(file.key))
                count += 1
    return count
