"""Puts the parts together: one app, its use cases, and a follower for each."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi_offline import FastAPIOffline
from starlette.types import Receive, Scope, Send

from serving.access.keys import ApiKeys
from serving.access.limits import Limits
from serving.access.middleware import HEALTH, METRICS, Access, Rules
from serving.follower import Follower
from serving.metrics import Metrics
from serving.predict import Predict
from serving.prediction_log.log import PredictionLog
from serving.routes import ROW_SCHEMA, build_router
from serving.settings import Settings
from serving.storage.origin import open_origin
from serving.suspects import Suspects
from serving.tracing import ENDPOINT, Tracer
from serving.use_case import UseCase


class App:
    """The whole app, as ASGI.

    `/predict` is answered before FastAPI sees it: its way to a function costs about 90 µs, more
    than validation, features and model together (`tests/benchmarks/serving.py`).

    Attributes:
        log: Keeps every answer.
        documented: The FastAPI app with everything else, and the documentation of everything.
        use_cases: What is served, by name.
    """

    def __init__(self, settings: Settings, notes: Path | None = None) -> None:
        """Make an app that follows the desired states for as long as it runs.

        Args:
            settings: What to serve and from where.
            notes: The folder that is shared with a supervisor, if there is one.

        Raises:
            TracingError: Traces are wanted, and cannot be made.
        """
        self.metrics = Metrics(settings.use_cases)
        self.log = PredictionLog(settings)
        suspects = Suspects(notes) if notes else None
        self.use_cases = {
            name: UseCase(
                name,
                settings,
                Follower(
                    name,
                    settings,
                    open_origin(name, settings, notes),
                    self.metrics,
                    self.log,
                    suspects,
                ),
                self.metrics,
            )
            for name in settings.use_cases
        }
        self.predict = Predict(self.use_cases, settings, self.metrics, self.log)
        self._tracer = Tracer(", ".join(self.use_cases)) if os.environ.get(ENDPOINT) else None
        self.documented = self._documented(settings)
        self._access = Access(self._dispatch, self.metrics, _rules(settings), self._tracer)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self._access(scope, receive, send)

    def drain(self) -> None:
        """Send clients away from now on: not ready, and every answer closes its connection."""
        self.predict.draining = self._access.draining = True

    async def _dispatch(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            path = scope["path"]
            if path == "/predict":
                scope["route_template"] = path
                await self.predict(scope, receive, send, None)
                return
            if path.startswith("/predict/"):
                scope["route_template"] = "/predict/{use_case}"
                await self.predict(scope, receive, send, path.removeprefix("/predict/"))
                return
        await self.documented(scope, receive, send)

    async def _watch_log(self) -> None:
        while True:
            self.metrics.watch(self.log)
            await asyncio.sleep(1)

    def _documented(self, settings: Settings) -> FastAPI:
        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[None]:
            self.log.start()
            for use_case in self.use_cases.values():
                use_case.follower.start()
            watching = asyncio.create_task(self._watch_log())
            yield
            watching.cancel()
            for use_case in self.use_cases.values():
                use_case.follower.stop()
            await asyncio.to_thread(self.log.stop)
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.stop)

        # Its pages bring their scripts along; FastAPI's own load them from a CDN.
        title = f"Predictions for {', '.join(self.use_cases)}"
        app = FastAPIOffline(title=title, lifespan=lifespan)
        app.include_router(build_router(settings, self.use_cases, self.metrics, self.predict))

        def openapi() -> dict[str, Any]:
            # Made anew each time: a contract comes with its bundle and may change at any swap.
            champions = [each.follower.state.champion for each in self.use_cases.values()]
            served = [champion for champion in champions if champion]
            version = ", ".join(champion.role.version for champion in served) or "none"
            schema = get_openapi(title=app.title, version=version, routes=app.routes)
            rows = [champion.bundle.contract.json_schema() for champion in served]
            row: dict[str, Any] = {"anyOf": rows} if len(rows) > 1 else {"type": "object"}
            if len(rows) == 1:
                (row,) = rows
            schema["components"]["schemas"][ROW_SCHEMA] = row
            return schema

        app.openapi = openapi  # type: ignore[method-assign]  # FastAPI's documented way
        return app


def _rules(settings: Settings) -> Rules:
    limits = None
    if settings.rate is not None:
        limits = Limits(settings.rate, settings.requests_at_once, settings.workers)
    return Rules(
        keys=ApiKeys(settings.api_keys, settings.api_keys_file),
        limits=limits,
        open_paths=HEALTH | {METRICS} if settings.open_metrics else HEALTH,
        largest_body=settings.largest_body,
        body_seconds=settings.body_seconds,
    )
