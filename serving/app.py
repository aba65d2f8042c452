"""Puts the parts together: one app, one use case, one follower."""

import os
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline

from serving.access.keys import ApiKeys
from serving.access.limits import Limits
from serving.access.middleware import HEALTH, METRICS, Access, Rules
from serving.follower import Follower
from serving.metrics import Metrics
from serving.routes import ROW_SCHEMA, build_router
from serving.settings import Settings
from serving.tracing import ENDPOINT, Tracer

_MOST_WORKERS: Final = 4


def create_app(settings: Settings) -> FastAPI:
    """Make an app that follows the desired state for as long as it runs.

    Args:
        settings: What to serve and from where.

    Raises:
        TracingError: Traces are wanted, and cannot be made.
    """
    metrics = Metrics()
    tracer = _tracer(settings)
    follower = Follower(settings, metrics)
    workers = ThreadPoolExecutor(min(_MOST_WORKERS, os.cpu_count() or 1), "predict")

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        follower.start()
        yield
        follower.stop()
        workers.shutdown()
        if tracer is not None:
            tracer.stop()

    # Its pages bring their scripts along; FastAPI's own load them from a CDN.
    app = FastAPIOffline(title=f"Predictions for {settings.use_case}", lifespan=lifespan)
    app.include_router(build_router(settings, follower, metrics, workers))
    app.add_middleware(Access, metrics=metrics, rules=_rules(settings), tracer=tracer)

    def openapi() -> dict[str, Any]:
        # Made anew each time: the contract comes with the bundle and may change at any swap.
        served = follower.state.current
        version = served.role.version if served else "none"
        schema = get_openapi(title=app.title, version=version, routes=app.routes)
        row = served.bundle.contract.json_schema() if served else {"type": "object"}
        schema["components"]["schemas"][ROW_SCHEMA] = row
        return schema

    app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
    return app


def _rules(settings: Settings) -> Rules:
    limits = None
    if settings.rate is not None:
        limits = Limits(settings.rate, settings.requests_at_once)
    return Rules(
        keys=ApiKeys(settings.api_keys, settings.api_keys_file),
        limits=limits,
        open_paths=HEALTH | {METRICS} if settings.open_metrics else HEALTH,
        largest_body=settings.largest_body,
        body_seconds=settings.body_seconds,
    )


def _tracer(settings: Settings) -> Tracer | None:
    return Tracer(settings.use_case) if os.environ.get(ENDPOINT) else None
