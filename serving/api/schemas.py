"""What answers look like, for the documentation: each status that an endpoint can give.

The answers themselves are made without these classes, for which there is no time.
"""

from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

#: The names under which OpenAPI shows the current contract; see `serving.api.documentation`.
ROW: Final = "Row"
FEEDBACK: Final = "Feedback"
FEEDBACK_REFERENCE: Final = {"$ref": f"#/components/schemas/{FEEDBACK}"}
ROW_REFERENCE: Final = {"$ref": f"#/components/schemas/{ROW}"}

_Value = StrictBool | StrictInt | StrictFloat | StrictStr


class Problem(BaseModel):
    """One reason why a row was not accepted."""

    loc: list[str | int]
    msg: str
    type: str


class Problems(BaseModel):
    """Every reason why a row was not accepted."""

    detail: list[Problem]


class Detail(BaseModel):
    """Why a request was not answered."""

    detail: str


class Warned(BaseModel):
    """A value that training never saw the like of."""

    column: str
    message: str


class Prediction(BaseModel):
    """The answer to one row."""

    prediction_id: str
    use_case: str
    version: str
    digest: str
    role: str
    probability: Annotated[float, Field(ge=0, le=1)]
    class_: Annotated[_Value, Field(alias="class")]
    label: str
    threshold: Annotated[float, Field(ge=0, le=1)]
    warnings: list[Warned]


class Contribution(BaseModel):
    """How much one feature moved an answer."""

    feature: str
    value: float | None
    contribution: float


class Explained(BaseModel):
    """Why a row was answered as it was."""

    use_case: str
    version: str
    digest: str
    role: str
    base_value: Annotated[float, Field(ge=0, le=1)]
    probability: Annotated[float, Field(ge=0, le=1)]
    class_: Annotated[_Value, Field(alias="class")]
    label: str
    contributions: list[Contribution]


class Accepted(BaseModel):
    """Feedback that will be kept. The same content has the same id."""

    accepted: int
    ids: list[str]


class Failure(BaseModel):
    """An error of the server. Its log has the reason under the request's id."""

    detail: str
    request_id: str


#: How a request may be refused before an endpoint sees it, and how one with a body.
ACCESS: Final = (401, 429)
BODY: Final = (400, 408, 413, 503, *ACCESS)

RETRY_AFTER: Final = {"Retry-After": {"description": "Seconds", "schema": {"type": "string"}}}
_REFUSALS: Final[dict[int | str, dict[str, Any]]] = {
    400: {"description": "The client went away, or its request is not HTTP", "model": Detail},
    401: {"description": "An API key is needed", "model": Detail},
    404: {"description": "No such use case or version here", "model": Detail},
    408: {"description": "The body did not arrive in time", "model": Detail},
    409: {"description": "The version has nothing to explain by", "model": Detail},
    413: {"description": "The body is larger than the server takes", "model": Detail},
    415: {"description": "The body is compressed", "model": Detail},
    422: {"description": "The request breaks the contract", "model": Problems},
    429: {
        "description": "Too many requests of one client: try again after `Retry-After` seconds",
        "model": Detail,
        "headers": RETRY_AFTER,
    },
    500: {"description": "An error of the server", "model": Failure},
    501: {"description": "This server has no prediction log", "model": Detail},
    503: {
        "description": "Nothing to serve, or no room: try again after `Retry-After` seconds",
        "model": Detail,
        "headers": RETRY_AFTER,
    },
}


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the refusals of an endpoint."""
    return {status: dict(_REFUSALS[status]) for status in statuses}


def one_or_many(schema: dict[str, Any], most: int, description: str) -> dict[str, Any]:
    """Describe a request body that is one object, or a list of them."""
    many = {"type": "array", "items": schema, "minItems": 1, "maxItems": most}
    return {
        "requestBody": {
            "required": True,
            "description": description,
            "content": {"application/json": {"schema": {"anyOf": [schema, many]}}},
        }
    }
