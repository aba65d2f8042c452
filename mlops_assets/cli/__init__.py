"""The ``mlops`` command: a thin layer over the functions that the assets use."""

import argparse
import os
import sys
from collections.abc import Sequence

from mlops_assets.cli import (
    alerts,
    authoring,
    data,
    decisions,
    gate,
    keys,
    ledger,
    lineage,
    load,
    models,
    platform,
    synthetic,
)
from mlops_assets.lib.features.dbt_project import FeatureModelError
from mlops_assets.lib.reading.landed import UnreadableError
from mlops_assets.lib.records.desired_state import OvertakenError, TakenBackError
from mlops_assets.lib.records.ledger import LedgerError
from mlops_assets.lib.spec.specs import UnknownUseCaseError
from mlops_assets.lib.storage.root import ChangedError
from serving.bundle.manifest import BundleError

# What a person can do something about: the message says it all.
REASONS = (
    BundleError,
    ChangedError,
    FeatureModelError,
    LedgerError,
    OSError,
    OvertakenError,
    TakenBackError,
    UnknownUseCaseError,
    UnreadableError,
    ValueError,
)

# A person waits: MLflow itself tries for four minutes before it says that a server is away.
PATIENCE = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2", "MLFLOW_HTTP_REQUEST_TIMEOUT": "10"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Returns:
        0 if it did what was asked, 1 if not (the reason is on standard error), 2 for a wrong call.
    """
    options = _parser().parse_args(arguments)
    for name, usual in {**PATIENCE, **getattr(options, "patience", {})}.items():
        os.environ.setdefault(name, usual)
    try:
        return int(options.run(options))
    except REASONS as error:
        print(f"mlops: {error}", file=sys.stderr)
        return 1
    except Exception as error:
        # Its class is not imported for this: MLflow costs seconds, and few commands ask it.
        if not type(error).__module__.startswith("mlflow."):
            raise
        print(f"mlops: MLflow: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mlops", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for module in (
        authoring,
        data,
        models,
        gate,
        decisions,
        ledger,
        lineage,
        alerts,
        keys,
        load,
        platform,
        synthetic,
    ):
        module.add(commands)
    return parser
