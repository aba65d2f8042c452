"""Which servers the demo starts: Dagster, serving, the MLflow UI and the exporter, on loopback."""

import os
import socket
import sys
from pathlib import Path

from mlops_assets import home, instance
from mlops_assets.demo.processes import Servers


class PortInUseError(Exception):
    """A port that a server needs is taken; the message says how to choose another."""


def check_ports() -> None:
    """Make sure that the servers can listen.

    Raises:
        PortInUseError: Naming the port and how to choose another.
    """
    for name in ("dagster", "serving", "mlflow", "exporter"):
        port = home.port(name)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                raise PortInUseError(
                    f"port {port}, which {name} needs, is in use. Stop what uses it, or choose "
                    f"another: MLOPS_{name.upper()}_PORT={port + 1} make demo"
                ) from None


def _environment() -> dict[str, str]:
    clean = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    return clean | {
        "MLOPS_HOME": str(home.home()),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "DAGSTER_HOME": str(instance.prepare()),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def start(servers: Servers, use_case: str) -> None:
    """Start Dagster and the serving app of a use case."""
    python, environment = sys.executable, _environment()
    dagster = [str(Path(python).parent / "dagster"), "dev", "--host", "127.0.0.1"]
    servers.start(
        "dagster", [*dagster, "--port", str(home.port("dagster"))], environment, home.PROJECT
    )
    serving = [python, "-m", "serving", "--use-case", use_case, "--port", str(home.port("serving"))]
    serving += ["--storage-root", home.storage_root(), "--environment", home.environment()]
    serving += ["--log-spool", str(home.spool_folder())]
    # Soon in the storage, for who looks at what was answered just now.
    serving += ["--log-roll-seconds", "5"]
    servers.start("serving", serving, environment, home.PROJECT)


def start_mlflow(servers: Servers) -> None:
    """The MLflow UI comes up once a run has made the store: two makers would collide."""
    if "mlflow" in servers.running or not home.mlflow_uri().startswith("sqlite"):
        return
    if not (home.mlflow_folder() / home.MLFLOW_READY).exists():
        return
    command = [str(Path(sys.executable).parent / "mlflow"), "server", "--workers", "1"]
    command += ["--backend-store-uri", home.mlflow_uri(), "--host", "127.0.0.1"]
    command += ["--default-artifact-root", (home.mlflow_folder() / "artifacts").as_uri()]
    # Its job runner, for evaluations of language models, would start eight more processes.
    environment = _environment() | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    command += ["--port", str(home.port("mlflow"))]
    servers.start("mlflow", command, environment, home.PROJECT)


def start_exporter(servers: Servers) -> None:
    """Start the exporter: once the champion serves, for its imports would slow the way there."""
    command = [sys.executable, "-m", "mlops_assets.cli", "exporter"]
    servers.start("exporter", command, _environment(), home.PROJECT)
