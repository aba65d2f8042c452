"""Puts the parts together: one app, its use cases, and a follower for each."""

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from time import monotonic
from typing import Final

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline
from starlette.types import Receive, Scope, Send

from serving.access.keys import ApiKeys
from serving.access.limits import Limits
from serving.access.middleware import HEALTH, METRICS, Access, Rules
from serving.api.documentation import document
from serving.api.explain import Explainer
from serving.api.explain_route import build_explain_router
from serving.api.feedback import Feedback, FullError
from serving.api.feedback_route import build_feedback_router
from serving.api.predict import Predict
from serving.api.refusals import answer_refusals
from serving.api.routes import build_router
from serving.api.v2.routes import build_v2_router
from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.roles.follower import Follower
from serving.roles.suspects import Suspects
from serving.roles.use_case import UseCase
from serving.settings import Settings
from serving.storage.bucket import StoreError
from serving.storage.origin import open_origin
from serving.tracing import ENDPOINT, Tracer

# So long a store that does not answer is waited for; then a worker says that it is not ready.
_FIRST_LOOK_SECONDS: Final = 3.0

log = logging.getLogger(__name__)


class App:
    """The whole app, as ASGI.

    `/predict` is answered before FastAPI sees it: its way to a function costs about 90 µs, more
    than validation, features and model together (`tests/benchmarks/serving.py`).

    Attributes:
        log: Keeps every answer, and feedback, unless the settings say that it keeps nothing.
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
        suspects = self._suspects = Suspects(notes) if notes else None
        self._worker = settings.worker
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
        self._explainer = Explainer()
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

    async def _first_look(self) -> None:
        deadline = monotonic() + _FIRST_LOOK_SECONDS
        while monotonic() < deadline and not all(
            each.follower.state.looked for each in self.use_cases.values()
        ):
            await asyncio.sleep(0.01)
        # Clients of a worker without a champion would be refused what the others can answer.
        if self._waits_for_others():
            log.warning("takes no clients yet: other workers serve what this one cannot")
        while self._waits_for_others():
            await asyncio.sleep(0.1)

    def _waits_for_others(self) -> bool:
        return bool(
            self._suspects
            and not self.predict.draining
            and not self._serves_all()
            and self._suspects.others_ready(self._worker)
        )

    def _serves_all(self) -> bool:
        return all(each.follower.state.champion for each in self.use_cases.values())

    async def _tell_others(self, suspects: Suspects) -> None:
        while True:
            # Without that note another worker takes clients too soon, and no harm is done else.
            with suppress(StoreError):
                ready = self._serves_all() and not self.predict.draining
                suspects.note_ready(self._worker, ready)
            await asyncio.sleep(0.5)

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
            tasks = [asyncio.create_task(self._watch_log())]
            # Until then nobody is let in: clients wait, or another worker takes them.
            await self._first_look()
            if self._suspects:
                tasks.append(asyncio.create_task(self._tell_others(self._suspects)))
            yield
            for task in tasks:
                task.cancel()
            for use_case in self.use_cases.values():
                use_case.follower.stop()
            self._explainer.stop()
            await asyncio.to_thread(self.log.stop)
            if self._tracer is not None:
                await asyncio.to_thread(self._tracer.stop)

        # Its pages bring their scripts along; FastAPI's own load them from a CDN.
        title = f"Predictions for {', '.join(self.use_cases)}"
        app = FastAPIOffline(title=title, lifespan=lifespan, redirect_slashes=False)
        use_cases, predict = self.use_cases, self.predict
        app.include_router(build_router(settings, use_cases, self.metrics, predict))
        app.include_router(build_explain_router(use_cases, predict, self._explainer))
        app.include_router(build_feedback_router(settings, use_cases, predict, self._keep))
        app.include_router(build_v2_router(settings, use_cases, predict))
        answer_refusals(app)
        # FastAPI's documented way.
        app.openapi = lambda: document(app, use_cases)  # type: ignore[method-assign]
        return app

    def _keep(self, records: Sequence[Feedback], request_id: str, time: float) -> None:
        if self.log.full:
            raise FullError("the prediction log cannot keep up; try again")
        for record in records:
            self.log.feedback(
                record.use_case,
                record.prediction_id,
                record.label,
                time,
                request_id,
                record.source,
                record.observed_at,
                record.id,
            )


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
