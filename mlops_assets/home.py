"""Where state lives: one folder, ``.mlops`` beside the project unless ``MLOPS_HOME`` moves it."""

import os
import re
from pathlib import Path

PROJECT = Path(__file__).parents[1]
DEFAULT = PROJECT / ".mlops"
PRODUCTION = "production"
# Beside a local MLflow store: it is made and up to date.
MLFLOW_READY = "ready"


def home() -> Path:
    """The folder of all state."""
    return Path(os.environ.get("MLOPS_HOME") or DEFAULT).absolute()


def storage_root() -> str:
    """Data, bundles, ledgers and desired states.

    A folder in the folder of all state, unless ``MLOPS_STORAGE_ROOT`` names another one or
    ``s3://bucket/prefix``.
    """
    return os.environ.get("MLOPS_STORAGE_ROOT") or str(home() / "storage")


def cache_folder() -> Path:
    """Local copies of what lies in a remote storage root; it may be removed at any time."""
    return home() / "cache"


def spool_folder() -> Path:
    """Predictions of the serving app on their way to the storage root."""
    return home() / "spool"


def mlflow_folder() -> Path:
    """The local MLflow store and its artifacts."""
    return home() / "mlflow"


def mlflow_uri() -> str:
    """The MLflow tracking store: a SQLite file unless ``MLFLOW_TRACKING_URI`` names another."""
    return os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{mlflow_folder() / 'mlflow.db'}"


def environment() -> str:
    """``dev`` on a laptop; chosen by ``MLOPS_ENVIRONMENT``.

    Raises:
        ValueError: If that is no name: it is part of a path, and ``Production`` would be another
            environment than ``production``.
    """
    name = os.environ.get("MLOPS_ENVIRONMENT") or "dev"
    if not re.fullmatch(r"[a-z][a-z0-9-]{0,39}", name):
        raise ValueError(
            f"MLOPS_ENVIRONMENT={name!r}: 1 to 40 small letters, digits and hyphens, a letter first"
        )
    return name


def port(name: str) -> int:
    """The port of a local server: ``MLOPS_<NAME>_PORT``, or its usual one.

    Args:
        name: ``dagster``, ``serving``, ``mlflow`` or ``exporter``.

    Raises:
        ValueError: If the variable is not a port.
    """
    usual = {"dagster": 3000, "serving": 8000, "mlflow": 5000, "exporter": 9108}[name]
    variable = f"MLOPS_{name.upper()}_PORT"
    text = os.environ.get(variable) or str(usual)
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise ValueError(f"{variable}={text!r} is not a port (1 to 65535)")
    return int(text)


def url(name: str) -> str:
    """The address of a local server: ``MLOPS_<NAME>_URL``, or its port on this machine."""
    return os.environ.get(f"MLOPS_{name.upper()}_URL") or f"http://127.0.0.1:{port(name)}"


def write_dagster_home() -> Path:
    """Write the instance's configuration into the folder of all state.

    It is the project's ``dagster.yaml`` with absolute paths, so that a Dagster started from
    anywhere shares the instance that a bare ``dagster dev`` uses.

    Returns:
        The folder, for ``DAGSTER_HOME``.
    """
    folder = home()
    folder.mkdir(parents=True, exist_ok=True)
    text = (PROJECT / "dagster.yaml").read_text(encoding="utf-8")
    text = text.replace("base_dir: .mlops", f"base_dir: {folder}")
    path = folder / "dagster.yaml"
    if not path.is_file() or path.read_text(encoding="utf-8") != text:
        partial = folder / f".dagster.yaml.{os.getpid()}"
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    return folder
