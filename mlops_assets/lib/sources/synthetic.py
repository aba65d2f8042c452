"""Generated rows: each fetch lands one more batch, drawn with the next seed."""

import tempfile
from pathlib import Path

from mlops_assets.lib.digests import file_digest
from mlops_assets.lib.sources.inbox import Fetched, Inbox
from mlops_assets.lib.sources.spec import SyntheticSource


def errors() -> tuple[type[Exception], ...]:
    """What a generator raises that has no space, or options that leave no rows."""
    return OSError, ValueError


def fetch(source: SyntheticSource, inbox: Inbox) -> Fetched:
    """Land one more batch. A kill before its number is remembered lands the same one again.

    Raises:
        ValueError: If the generator cannot write rows with these options.
        OSError: If the file cannot be written.
    """
    from mlops_assets.lib.synthetic import GENERATORS
    from mlops_assets.lib.synthetic.origin import remember

    generator = GENERATORS[source.generator]
    number = inbox.state.get("batches", 0)
    seed = source.seed + number
    options = generator.options(rows=source.rows, seed=seed, **source.options)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows"
        summary = generator.write(options, file)
        about = {
            "seed": seed,
            "rows": summary.rows,
            "bad rows": summary.bad_rows,
            "waiting": summary.waiting,
            "positives": summary.positives,
            "best reachable ROC AUC": summary.best_auc,
        }
        storage, use_case = inbox.batches.storage, inbox.batches.use_case
        remember(storage, use_case, file_digest(file), options, summary)
        name = f"synthetic-{source.name}-seed-{seed}.{options.format}"
        fetched = Fetched([inbox.land(file, name)], about)
    inbox.remember({"batches": number + 1})
    return fetched
