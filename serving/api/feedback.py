"""`POST /feedback`: what turned out to be true of a prediction.

It is checked here and handed on to whoever keeps it. The same words said twice have the same id, so
that a client may say them again until it knows that they were heard.
"""

import hashlib
import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

import msgspec

from serving.bundle.contract import RowError
from serving.bundle.loaded import Classes
from serving.bundle.values import InvalidValueError, convert, shown

LONGEST_SOURCE: Final = 64
_PREDICTION_ID: Final = re.compile("[0-9a-f]{32}")
_FIELDS: Final = ("prediction_id", "label", "observed_at", "source")
_ID_CHARACTERS: Final = 32
# By which a client's clock may be ahead of this one.
_SKEW: Final = timedelta(minutes=5)

Value = bool | int | float | str


class FullError(Exception):
    """There is no room for feedback at present."""


class Feedback(NamedTuple):
    """What turned out to be true of one prediction.

    Attributes:
        use_case: Whose prediction it was.
        prediction_id: Of the prediction.
        label: The value of one of the two classes.
        observed_at: When it was seen to be true, `YYYY-MM-DD HH:MM:SS[.ffffff]` in UTC, if known.
        source: Who says so, if known.
    """

    use_case: str
    prediction_id: str
    label: Value
    observed_at: str | None
    source: str | None

    @property
    def id(self) -> str:
        """The same for the same content, 32 hex characters."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()[:_ID_CHARACTERS]


#: Keeps feedback: given the records of one request, its id, and the time in seconds since the epoch
#: it keeps all of them, or none and raises `FullError`. Must not block.
Keep = Callable[[list[Feedback], str, float], None]


def read_feedback(
    payloads: list[object], use_case: str, classes: Classes, now: datetime
) -> list[Feedback]:
    """Check the feedback of one request.

    Args:
        payloads: What the request holds, an object each.
        use_case: Whose predictions they are about.
        classes: What a label may be, by value or by name.
        now: The time, in UTC and without a time zone: nothing later can have been observed.

    Raises:
        RowError: With every problem of the first object that has any.
    """
    found = []
    for number, payload in enumerate(payloads):
        try:
            found.append(_read(payload, use_case, classes, now + _SKEW))
        except RowError as error:
            where = ["body", number] if len(payloads) > 1 else ["body"]
            problems = [{**problem, "loc": [*where, *problem["loc"]]} for problem in error.problems]
            raise RowError(problems) from None
    return found


def _read(payload: object, use_case: str, classes: Classes, latest: datetime) -> Feedback:
    if not isinstance(payload, dict):
        message = f"must be a JSON object; got {shown(payload)}"
        raise RowError([{"loc": [], "msg": message, "type": "model_attributes_type"}])
    problems: list[dict[str, Any]] = []

    def read(name: str, reader: Callable[[Any], Any], required: bool = False) -> Any:
        value = payload.get(name)
        try:
            if value is not None:
                return reader(value)
            if required:
                raise InvalidValueError("missing", "is required")
        except InvalidValueError as error:
            problems.append({"loc": [name], "msg": str(error), "type": error.kind})
        return None

    if unknown := payload.keys() - set(_FIELDS):
        message = f"has fields besides {', '.join(_FIELDS)}: {len(unknown)}"
        problems.append({"loc": [], "msg": message, "type": "extra_forbidden"})
    feedback = Feedback(
        use_case,
        read("prediction_id", _prediction_id, required=True),
        read("label", lambda value: _label(value, classes), required=True),
        read("observed_at", lambda value: _observed_at(value, latest)),
        read("source", _source),
    )
    if problems:
        raise RowError(problems)
    return feedback


def _prediction_id(value: object) -> str:
    if isinstance(value, str) and _PREDICTION_ID.fullmatch(value):
        return value
    message = f"must be the prediction_id of an answer; got {shown(value)}"
    raise InvalidValueError("prediction_id", message)


def _label(value: object, classes: Classes) -> Value:
    both = classes.negative, classes.positive
    for each in both:
        # True equals 1, and is another value.
        if each.value == value and isinstance(each.value, bool) == isinstance(value, bool):
            return each.value
    for each in both:
        if each.label == value:
            return each.value
    choices = " or ".join(f"{shown(each.value)} ({shown(each.label)})" for each in both)
    raise InvalidValueError("enum", f"must be {choices}; got {shown(value)}")


def _observed_at(value: object, latest: datetime) -> str:
    text: str = convert("timestamp", value)
    if datetime.fromisoformat(text) > latest:
        raise InvalidValueError("future", f"must not be in the future; got {shown(value)}")
    return text


def _source(value: object) -> str:
    text: str = convert("text", value)
    if not 1 <= len(text) <= LONGEST_SOURCE:
        message = f"must have 1 to {LONGEST_SOURCE} characters; got {len(text)}"
        raise InvalidValueError("text_length", message)
    return text
