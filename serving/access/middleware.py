"""What happens around every request, whatever answers it.

It gets an id, is let in or not, is held to its limits, counted, timed, logged, and never answered
by a stack trace. One layer, plain ASGI: each layer costs microseconds that a model could have, and
Starlette's `BaseHTTPMiddleware` would cost a task and a queue.
"""

import asyncio
import logging
import math
import re
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from random import getrandbits
from time import perf_counter
from typing import Final

from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serving.access.keys import ApiKeys
from serving.access.limits import Limits, client_of
from serving.api.refusals import refusal
from serving.metrics import Metrics
from serving.tracing import Tracer

#: Probes ask these, and have no key. Compared with the whole path that routes are matched by.
HEALTH: Final = frozenset(
    {"/health/live", "/health/ready", "/health/startup", "/v2/health/live", "/v2/health/ready"}
)
METRICS: Final = "/metrics"

_LOOKED_AT: Final = frozenset(
    {
        b"authorization",
        b"content-length",
        b"traceparent",
        b"transfer-encoding",
        b"x-api-key",
        b"x-request-id",
    }
)
_REQUEST_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_BEARER: Final = b"bearer "
_LONGEST_LENGTH: Final = 18  # digits

log = logging.getLogger("serving.access")


@dataclass(frozen=True)
class Rules:
    """What is asked of a request.

    Attributes:
        keys: Who may ask; nobody is asked where it is empty.
        limits: How often, or None for as often as they like.
        open_paths: Paths that need no key and have no limit.
        largest_body: Bytes.
        body_seconds: Within which a body must have arrived, to a second.
    """

    keys: ApiKeys
    limits: Limits | None
    open_paths: frozenset[str]
    largest_body: int
    body_seconds: float


class Access:
    """The layer around the app.

    It leaves `request_id` and, where keys are asked for, `api_key` (its name) in
    `scope["state"]`, and reads from there the `version` that answered.

    Attributes:
        draining: Whether every answer closes its connection, because the process is about to stop.
    """

    def __init__(
        self, app: ASGIApp, metrics: Metrics, rules: Rules, tracer: Tracer | None = None
    ) -> None:
        """Wrap an app."""
        self._app = app
        self._metrics = metrics
        self._rules = rules
        self._tracer = tracer
        self._deadlines = _Deadlines(rules.body_seconds)
        self.draining = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start = perf_counter()
        headers: dict[bytes, bytes] = {}
        keys: list[bytes] = []
        for name, value in scope["headers"]:
            if name in _LOOKED_AT:
                headers[name] = value
                if name == b"x-api-key":
                    keys.append(value)
                elif name == b"authorization" and value[:7].lower() == _BEARER:
                    keys.append(value[7:].strip())
        request_id = _request_id(headers.get(b"x-request-id"))
        state = scope.setdefault("state", {})
        state["request_id"] = request_id
        id_header = (b"x-request-id", request_id.encode())
        span = self._tracer.start(headers.get(b"traceparent")) if self._tracer else None
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # A new list: the one of an answer may be used for others, too.
                message["headers"] = [*message.get("headers", ()), id_header]
                if self.draining:
                    message["headers"].append((b"connection", b"close"))
            await send(message)

        error: Exception | None = None
        try:
            refused = self._refuse(scope, headers, keys)
            if refused is not None:
                await refused(scope, receive, sending)
            else:
                if b"content-length" in headers or b"transfer-encoding" in headers:
                    receive = self._receiving(receive)
                await self._app(scope, receive, sending)
        except Exception as raised:
            if status:
                # The answer has begun; closing the connection is all that is left. The server
                # logs what is raised here, so it is not what may repeat a value of the request.
                error = raised
                raise RuntimeError("an answer broke off") from None
            if isinstance(raised, HTTPException):
                content = refusal(scope["path"], raised.detail)
                answer = JSONResponse(content, raised.status_code, raised.headers)
            else:
                error = raised
                answer = JSONResponse({"detail": "internal error", "request_id": request_id}, 500)
            await answer(scope, receive, sending)
        finally:
            seconds = perf_counter() - start
            # The template, not the path: clients can make up any number of paths.
            template = scope.get("route_template")
            route = str(template or getattr(scope.get("route"), "path", "other"))
            self._metrics.request(route, status, seconds)
            _log(scope, route, status, seconds, error)
            if span is not None:
                span.end(scope["method"], route, status, state.get("version"))

    def _refuse(
        self, scope: Scope, headers: Mapping[bytes, bytes], keys: list[bytes]
    ) -> JSONResponse | None:
        """The answer to a request that gets no further, or None."""
        rules = self._rules
        length = headers.get(b"content-length")
        # Before anything is read of it. What comes without a length is counted as it comes.
        if length is not None and _number(length) > rules.largest_body:
            return _answer(scope, 413, _too_large(rules.largest_body))
        if scope["path"] in rules.open_paths:
            return None
        name = None
        if rules.keys:
            # Two keys could be read in two ways by what stands between; neither is taken.
            name = rules.keys.name(keys[0]) if len(keys) == 1 else None
            scope["state"]["api_key"] = name
        if rules.limits is not None:
            address = (scope.get("client") or ("",))[0]
            wait = rules.limits.wait(client_of(name, address), perf_counter())
            if wait:
                after = {"Retry-After": str(math.ceil(wait))}
                return _answer(scope, 429, "too many requests", after)
        if name is None and rules.keys:
            detail = (
                "one API key, please: found several"
                if len(keys) > 1
                else "no such API key"
                if keys
                else "an API key is needed: Authorization: Bearer KEY, or X-API-Key: KEY"
            )
            return _answer(scope, 401, detail, {"WWW-Authenticate": "Bearer"})
        return None

    def _receiving(self, receive: Receive) -> Receive:
        """Receive a body that is neither too large nor too slow."""
        most, left = self._rules.largest_body, self._rules.largest_body
        deadline = perf_counter() + self._rules.body_seconds
        whole = False

        async def receiving() -> Message:
            nonlocal left, whole
            if whole:  # what comes now is that the client goes, whenever it likes
                return await receive()
            message = await self._deadlines.wait(receive, deadline)
            left -= len(message.get("body", b""))
            if left < 0:
                raise HTTPException(413, _too_large(most))
            whole = not message.get("more_body", False)
            return message

        return receiving


class _Deadlines:
    """Ends waits that last too long, with one timer for all of them.

    A timer for each would cost more than all the rest of this module.
    """

    def __init__(self, seconds: float) -> None:
        self._detail = f"the body did not arrive within {seconds:g} s"
        self._waiting: dict[asyncio.Task[object], float] = {}
        self._late: set[asyncio.Task[object]] = set()
        self._ticking = False

    async def wait(self, receive: Receive, deadline: float) -> Message:
        """Receive one message.

        Raises:
            HTTPException: 408, at most a second after the deadline.
        """
        task = asyncio.current_task()
        assert task is not None
        self._waiting[task] = deadline
        if not self._ticking:
            self._tick()
        try:
            return await receive()
        except asyncio.CancelledError:
            if task not in self._late:
                raise
            task.uncancel()
            raise HTTPException(408, self._detail, {"Connection": "close"}) from None
        finally:
            self._late.discard(task)
            del self._waiting[task]

    def _tick(self) -> None:
        now = perf_counter()
        for task, deadline in self._waiting.items():
            if now > deadline and task not in self._late:
                self._late.add(task)
                task.cancel()
        self._ticking = bool(self._waiting)
        if self._ticking:
            asyncio.get_running_loop().call_later(1.0, self._tick)


def _request_id(given: bytes | None) -> str:
    if given is not None and _REQUEST_ID.fullmatch(given):
        return given.decode()
    # Not a secret, so no need to ask the system for randomness.
    return f"{getrandbits(128):032x}"


def _number(length: bytes) -> float:
    return int(length) if length.isdigit() and len(length) <= _LONGEST_LENGTH else math.inf


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes"


def _answer(
    scope: Scope, status: int, detail: str, headers: Mapping[str, str] | None = None
) -> JSONResponse:
    return JSONResponse(refusal(scope["path"], detail), status, headers)


def _log(scope: Scope, route: str, status: int, seconds: float, error: Exception | None) -> None:
    """Write the line of a request. Never its path, query or body: they may hold personal data."""
    failed = status >= 500 and scope["path"] not in HEALTH  # a probe may well say no
    level = logging.INFO if failed or error is not None else logging.DEBUG
    if not log.isEnabledFor(level):
        return
    state = scope["state"]
    fields = {
        "request_id": state["request_id"],
        "method": scope["method"],
        "route": route,
        "status": status,
        "seconds": round(seconds, 6),
        "api_key": state.get("api_key"),
    }
    if error is None:
        log.log(level, "request", extra={"fields": fields})
        return
    fields["exception"] = "\n".join(_places(error))
    log.error("request failed", extra={"fields": fields})
    log.debug("what failed", exc_info=error, extra={"fields": {"request_id": fields["request_id"]}})


def _places(error: BaseException) -> list[str]:
    """Where an error came from, without its message: that may repeat a value of the request."""
    stack = traceback.extract_tb(error.__traceback__)
    lines = [f"{at.filename}:{at.lineno} {at.name}" for at in stack]
    lines.append(f"{type(error).__module__}.{type(error).__qualname__}")
    cause = error.__cause__ or error.__context__
    return lines if cause is None else [*_places(cause), *lines]
