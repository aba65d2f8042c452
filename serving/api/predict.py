"""`POST /predict`: the way that every request takes, and the reason why it is short.

It is plain ASGI: FastAPI's own way from a request to a function costs as much as all the rest of
an answer. FastAPI only describes it (see `serving.api.routes`).
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from time import time
from typing import Any, Final
from uuid import uuid4

import msgspec
from starlette.types import Message, Receive, Scope, Send

from serving.bundle.contract import Row, RowError, decode
from serving.bundle.features import FeatureError
from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.roles.follower import Served
from serving.roles.lane import BusyError, LateError
from serving.roles.use_case import Answer, NothingServesError, UseCase, VersionError
from serving.settings import Settings

#: Names whose rows these are, so that one entity is always answered by the same version.
ENTITY_HEADER: Final = "X-Entity-Id"
_ENTITY: Final = ENTITY_HEADER.lower().encode()
#: In characters.
LONGEST_ENTITY: Final = 256
_NO_CODING: Final = (b"", b"identity")
#: Why a compressed body is refused.
COMPRESSED: Final = "the body must not be compressed"
_JSON: Final = (b"content-type", b"application/json")

_encode = msgspec.json.Encoder().encode


class RefusedError(Exception):
    """An answer that is no prediction."""

    def __init__(self, status: int, detail: object, retry: bool = False) -> None:
        """Answer with a status and a reason; `retry` says that it may work in a moment."""
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.retry = retry


class Asked:
    """The rows of one request, and whose they are.

    Attributes:
        payloads: What it holds for each row.
        request_id: Its id.
        entity: Whom the rows are about, if the client says so.
        size: Bytes of its body.
        ids: A new prediction id for each row.
    """

    __slots__ = ("entity", "ids", "payloads", "request_id", "size")

    def __init__(
        self, payloads: list[object], request_id: str, entity: str | None, size: int
    ) -> None:
        """Give each row an id."""
        self.payloads = payloads
        self.request_id = request_id
        self.entity = entity
        self.size = size
        self.ids = [uuid4().hex for _ in payloads]


class Predict:
    """Answers one row, or a list of rows.

    Attributes:
        draining: Whether clients are being sent away, because the process is about to stop.
    """

    def __init__(
        self,
        use_cases: Mapping[str, UseCase],
        settings: Settings,
        metrics: Metrics,
        log: PredictionLog,
    ) -> None:
        """Answer for some use cases.

        Args:
            use_cases: By name.
            settings: For the number of rows a request may hold.
            metrics: Counts predictions.
            log: Keeps every answer.
        """
        self._use_cases = use_cases
        self._only = next(iter(use_cases.values())) if len(use_cases) == 1 else None
        self._settings = settings
        self._metrics = metrics
        self._log = log
        self._refuses = settings.log_when_full == "refuse"
        self.draining = False

    async def __call__(
        self, scope: Scope, receive: Receive, send: Send, use_case: str | None
    ) -> None:
        """Answer one request, for the use case that its path names."""
        try:
            status, found, retry = 200, await self._answer(scope, receive, use_case), False
        except RefusedError as refusal:
            status, found, retry = refusal.status, {"detail": refusal.detail}, refusal.retry
        await answer_json(send, status, found, retry)

    async def _answer(self, scope: Scope, receive: Receive, name: str | None) -> object:
        use_case = self.choose(name)
        body = await read_body(receive)
        try:
            payloads, many = read_payloads(body, self._settings.batch_rows)
        except RefusedError:
            # Looked at only here, for what is compressed is never JSON.
            if is_compressed(scope):
                raise RefusedError(415, COMPRESSED) from None
            raise
        asked = Asked(payloads, request_id_of(scope), entity_of(scope), len(body))
        answer = await self.ask(use_case, asked)
        scope["state"]["version"] = answer.served.role.version
        answers = self.describe(use_case, answer, asked.ids)
        return answers if many else answers[0]

    def choose(self, name: str | None, endpoint: str = "/predict") -> UseCase:
        """The use case of a request.

        Args:
            name: That the request's path has, if any.
            endpoint: The path before the name, for the reason.

        Raises:
            RefusedError: It names none of those that are served, or none where there are several.
        """
        if name is None:
            if self._only is not None:
                return self._only
            names = " or ".join(f"{endpoint}/{each}" for each in self._use_cases)
            raise RefusedError(404, f"this server has several use cases: ask {names}")
        if (found := self._use_cases.get(name)) is None:
            raise RefusedError(404, f"this server serves {', '.join(self._use_cases)} only")
        return found

    async def ask(self, use_case: UseCase, asked: Asked, version: str | None = None) -> Answer:
        """Have rows answered and recorded; whatever stands in the way becomes a refusal.

        Args:
            use_case: Whose rows they are.
            asked: The rows.
            version: Which version is to answer, whoever they would be answered by otherwise.

        Raises:
            RefusedError: With the status that tells the client what to do.
        """
        if self._refuses and self._log.full:
            self._metrics.refused("log")
            raise RefusedError(503, "the prediction log cannot keep up; try again", retry=True)
        record = partial(self._record, asked)
        with self.refusing():
            if version is not None:
                return await use_case.answer_by(version, asked.payloads, record)
            return await use_case.answer(asked.payloads, asked.entity or asked.request_id, record)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Make refusals of what may stand in the way of an answer."""
        try:
            yield
        except RowError as error:
            raise RefusedError(422, error.problems) from None
        except FeatureError as error:
            problem = {"loc": ["body"], "msg": str(error), "type": "feature_error"}
            raise RefusedError(422, [problem]) from None
        except NothingServesError:
            detail = "nothing to serve at present; GET /model tells why"
            raise RefusedError(503, detail, retry=True) from None
        except VersionError as error:
            raise RefusedError(404, str(error)) from None
        except BusyError:
            self._metrics.refused("full")
            raise RefusedError(503, "too many rows are waiting; try again", retry=True) from None
        except LateError:
            self._metrics.refused("late")
            raise RefusedError(503, "it took too long; try again", retry=True) from None

    def _record(self, asked: Asked, answer: Answer) -> None:
        count, scored = len(asked.ids), answer.scored
        self._log.append(
            answer.served.stream,
            time(),
            asked.ids,
            [asked.request_id] * count,
            answer.rows,
            scored.features,
            scored.probabilities,
            [asked.entity] * count,
            asked.size,
        )

    def describe(
        self, use_case: UseCase, answer: Answer, ids: Sequence[str]
    ) -> list[dict[str, Any]]:
        """Say what was answered to each row, and count it."""
        served, name, metrics = answer.served, use_case.name, self._metrics
        version = served.role.version
        answers = []
        probabilities = answer.scored.probabilities.tolist()
        for prediction_id, row, probability in zip(ids, answer.rows, probabilities, strict=True):
            found = described(served, prediction_id, row, probability)
            metrics.prediction(name, served.name, version, str(found["class"]), probability)
            for warned in found["warnings"]:
                metrics.out_of_range(name, served.name, version, warned["column"])
            answers.append(found)
        return answers


def described(served: Served, prediction_id: str, row: Row, probability: float) -> dict[str, Any]:
    """An answer to a row as it is given."""
    bundle = served.bundle
    outcome = bundle.classify(probability)
    return {
        "prediction_id": prediction_id,
        "use_case": bundle.manifest.use_case,
        "version": served.role.version,
        "digest": bundle.digest,
        "role": served.name,
        "probability": probability,
        "class": outcome.value,
        "label": outcome.label,
        "threshold": bundle.manifest.threshold,
        "warnings": [warned._asdict() for warned in bundle.seen.warnings(row)],
    }


def request_id_of(scope: Scope) -> str:
    """The id of a request, which `serving.access` gave it."""
    found: str = scope["state"]["request_id"]
    return found


def entity_of(scope: Scope) -> str | None:
    """Whose rows a request says these are, or None.

    Raises:
        RefusedError: It is not UTF-8, or too long. A guess would be logged, and nobody who asks for
            that person to be erased would find it.
    """
    for name, value in scope["headers"]:
        if name == _ENTITY:
            try:
                entity = str(value, "utf-8")
            except UnicodeDecodeError:
                raise _entity_refused("must be UTF-8", "header_encoding") from None
            if len(entity) > LONGEST_ENTITY:
                message = f"must have at most {LONGEST_ENTITY} characters; got {len(entity)}"
                raise _entity_refused(message, "header_length")
            return entity or None
    return None


def is_compressed(scope: Scope) -> bool:
    """Whether a request says that its body has a coding."""
    return any(
        name == b"content-encoding" and value.lower() not in _NO_CODING
        for name, value in scope["headers"]
    )


def _entity_refused(message: str, kind: str) -> RefusedError:
    return RefusedError(422, [{"loc": ["header", ENTITY_HEADER], "msg": message, "type": kind}])


async def read_body(receive: Receive) -> bytes:
    """Read a request's body. How large and how slow it may be is looked at around the app.

    Raises:
        RefusedError: The client went away.
    """
    message = await receive()
    body: bytes = message.get("body", b"")
    while message["type"] == "http.request" and message.get("more_body"):
        message = await receive()
        body += message.get("body", b"")
    if message["type"] == "http.disconnect":
        # Nobody reads this answer; without it the log would show an error of ours.
        raise RefusedError(400, "the client went away")
    return body


def read_payloads(body: bytes, most: int) -> tuple[list[object], bool]:
    """Read a body that is a JSON value, or a list of them.

    Args:
        body: The whole of it.
        most: How many it may hold.

    Returns:
        What it holds, and whether it is a list.

    Raises:
        RefusedError: It cannot be read, or holds none or too many.
    """
    try:
        payload = decode(body)
    except RowError as error:
        raise RefusedError(422, error.problems) from None
    if not isinstance(payload, list):
        return [payload], False
    if not 1 <= len(payload) <= most:
        message = f"must hold 1 to {most} rows; got {len(payload)}"
        raise RefusedError(422, [{"loc": ["body"], "msg": message, "type": "row_count"}])
    return payload, True


async def answer_json(send: Send, status: int, content: object, retry: bool = False) -> None:
    """Send an answer."""
    body = _encode(content)
    headers = [_JSON, (b"content-length", str(len(body)).encode())]
    if retry:
        headers.append((b"retry-after", b"1"))
    start: Message = {"type": "http.response.start", "status": status, "headers": headers}
    await send(start)
    await send({"type": "http.response.body", "body": body})
