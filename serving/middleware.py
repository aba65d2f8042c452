"""What happens around every request: it is counted, timed, and never answered by a stack trace."""

import logging
from time import perf_counter
from uuid import uuid4

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.metrics import Metrics

log = logging.getLogger(__name__)


class Observe:
    """Counts and times requests, and answers for a request that failed unexpectedly.

    Plain ASGI: Starlette's `BaseHTTPMiddleware` would cost a task and a queue for each request.

    Attributes:
        draining: Whether every answer closes its connection.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        """Wrap an app."""
        self._app = app
        self._metrics = metrics
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        status = 0

        async def noting_status(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self.draining:
                    headers = [*message.get("headers", ()), (b"connection", b"close")]
                    message = {**message, "headers": headers}
            await send(message)

        try:
            await self._app(scope, receive, noting_status)
        except Exception:
            request_id = uuid4().hex
            log.exception("request failed", extra={"fields": {"request_id": request_id}})
            if status:
                # The answer has begun; closing the connection is all that is left.
                raise
            answer = JSONResponse({"detail": "internal error", "request_id": request_id}, 500)
            await answer(scope, receive, noting_status)
        finally:
            # The template, not the path: clients can make up any number of paths.
            template = scope.get("route_template")
            route = str(template or getattr(scope.get("route"), "path", "other"))
            self._metrics.request(route, status, perf_counter() - start)
