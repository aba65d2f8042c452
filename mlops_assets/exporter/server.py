"""``mlops exporter``: ``/metrics`` of the platform, until it is told to stop."""

import logging
import os
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

import dagster as dg
from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server

from mlops_assets import home
from mlops_assets.exporter.collector import Part, PlatformCollector
from mlops_assets.exporter.parts import of_dagster, of_storage
from mlops_assets.instance import open_instance
from mlops_assets.lib.spec.specs import load_specs
from mlops_assets.lib.storage.root import Storage
from mlops_assets.resources.mlflow import tracking

# A server that is away must not hold up a scrape: MLflow tries for minutes by itself.
IMPATIENT = {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1", "MLFLOW_HTTP_REQUEST_TIMEOUT": "5"}


def serve(host: str, port: int) -> int:
    """Serve the metrics of this deployment until SIGINT or SIGTERM.

    Args:
        host: Address to listen on.
        port: Port to listen on.

    Returns:
        0.

    Raises:
        OSError: If the port cannot be listened on.
        SpecError: If the spec of a use case is wrong.
    """
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    for name, value in IMPATIENT.items():
        os.environ.setdefault(name, value)
    with open_instance() as instance:
        parts = [*_parts(instance)]
        with listening(parts, host, port) as at:
            print(f"metrics of the platform: http://{host}:{at}/metrics", flush=True)
            stop.wait()
    return 0


@contextmanager
def listening(parts: Iterable[Part], host: str, port: int) -> Iterator[int]:
    """Answer scrapes during a block; what is slow at first has been asked before.

    Yields:
        The port.

    Raises:
        OSError: If it cannot be listened on.
    """
    collector = PlatformCollector(parts)
    collector.collect()
    registry = CollectorRegistry()
    registry.register(collector)
    ProcessCollector(registry=registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except OSError as error:
        said = f"{host}:{port} cannot be listened on ({error.strerror}): stop what uses it, or"
        raise OSError(f"{said} choose another by --port or MLOPS_EXPORTER_PORT") from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _parts(instance: dg.DagsterInstance) -> Iterator[Part]:
    from mlops_assets.definitions import defs

    specs = load_specs()
    yield from of_dagster(instance, defs(), specs)
    store = Storage(home.storage_root())
    yield from of_storage(store, specs.values(), home.environment(), _alias())


def _alias() -> Callable[[str], str | None]:
    """Who is champion in MLflow; nobody where there is no store yet, for asking would make it."""
    mlflow = tracking()

    def alias(name: str) -> str | None:
        local = home.mlflow_uri().startswith("sqlite")
        if local and not (home.mlflow_folder() / home.MLFLOW_READY).exists():
            return None
        return mlflow.champion(name)

    return alias
