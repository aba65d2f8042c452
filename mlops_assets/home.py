"""Where state lives: one folder, ``.mlops`` beside the project unless ``MLOPS_HOME`` moves it."""

import os
from pathlib import Path

PROJECT = Path(__file__).parents[1]


def home() -> Path:
    """The folder of all state."""
    return Path(os.environ.get("MLOPS_HOME") or PROJECT / ".mlops").absolute()


def storage_root() -> Path:
    """Data, bundles, ledgers and desired states."""
    return home() / "storage"


def mlflow_uri() -> str:
    """The MLflow tracking store: a SQLite file unless ``MLFLOW_TRACKING_URI`` names another."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home() / 'mlflow' / 'mlflow.db'}"


def environment() -> str:
    """``dev`` on a laptop; chosen by ``MLOPS_ENVIRONMENT``."""
    return os.environ.get("MLOPS_ENVIRONMENT") or "dev"
