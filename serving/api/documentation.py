"""OpenAPI for what serves now: the schema of its rows, and examples that can be sent as they are.

A contract comes with its bundle and may change at any swap, so this is made when it is asked for.
Examples of answers are computed, by the bundle, from the example that its contract gives.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from serving.api import explain, predict
from serving.api.feedback import LONGEST_SOURCE, read_feedback
from serving.api.schemas import FEEDBACK, ROW
from serving.api.v2 import tensors
from serving.api.v2.schemas import INFER_REQUEST
from serving.bundle.contract import Row, RowError
from serving.bundle.features import FeatureError
from serving.roles.follower import Served
from serving.roles.use_case import UseCase

_JSON: Final = "application/json"
_PREDICTION_ID: Final = "3f2b8c1e9d604a57b1c0de5f7a8e6d24"
_OBSERVED_AT: Final = datetime(2026, 1, 31, 12)
# A page is drawn in the event loop, which has no time for a whole explanation.
_BACKGROUND_OF_EXAMPLE: Final = 4
_LIST: Final = ", a list"


class _Examples(NamedTuple):
    """Of one endpoint: the status of the answers, and request and answer by form."""

    status: str
    pairs: dict[str, tuple[Any, Any]]


def document(app: FastAPI, use_cases: Mapping[str, UseCase]) -> dict[str, Any]:
    """Make the OpenAPI schema of an app.

    Args:
        app: With all its endpoints.
        use_cases: What is served, by name.
    """
    champions = [each.follower.state.champion for each in use_cases.values()]
    served = [champion for champion in champions if champion]
    version = ", ".join(champion.role.version for champion in served) or "none"
    schema = get_openapi(title=app.title, version=version, routes=app.routes)
    components = schema["components"]["schemas"]
    _forget_validation(schema)
    components[ROW] = _any_of([each.bundle.contract.json_schema() for each in served])
    components[FEEDBACK] = _any_of([_feedback_schema(each) for each in served])
    components[INFER_REQUEST] = _any_of([_infer_schema(each) for each in served])
    examples = {each.bundle.manifest.use_case: _examples(each) for each in served}
    for path, operations in schema["paths"].items():
        endpoint = "infer" if path.endswith("/infer") else path.split("/")[1]
        for use_case, found in examples.items():
            if "post" in operations and endpoint in found:
                _illustrate(operations["post"], use_case, found[endpoint])
    return schema


def _forget_validation(schema: dict[str, Any]) -> None:
    """Drop what FastAPI adds to paths with a parameter: any text is one, so none is refused."""
    components = schema["components"]["schemas"]
    for name in ("HTTPValidationError", "ValidationError"):
        components.pop(name, None)
    for operations in schema["paths"].values():
        for operation in operations.values():
            content = operation["responses"].get("422", {}).get("content", {})
            if "HTTPValidationError" in str(content):
                del operation["responses"]["422"]


def _any_of(schemas: list[dict[str, Any]]) -> dict[str, Any]:
    if len(schemas) > 1:
        return {"anyOf": schemas}
    return schemas[0] if schemas else {"type": "object"}


def _illustrate(operation: dict[str, Any], use_case: str, examples: _Examples) -> None:
    for form, (request, answer) in examples.pairs.items():
        places = operation["requestBody"], operation["responses"][examples.status]
        for place, value in zip(places, (request, answer), strict=True):
            shown = place["content"][_JSON].setdefault("examples", {})
            shown[f"{use_case}{form}"] = {"value": value}


def _examples(served: Served) -> dict[str, _Examples]:
    """Examples by endpoint; none where the contract's own example is no row."""
    bundle = served.bundle
    example = {column.name: column.example for column in bundle.contract.columns}
    try:
        row = bundle.contract.validate_row(example)
        probability = float(bundle.predict([row])[0])
    except (RowError, FeatureError):
        return {}
    answer = predict.described(served, _PREDICTION_ID, row, probability)
    said, accepted = _feedback(served)
    found = {
        "predict": _Examples("200", _one_and_many(example, answer)),
        "infer": _Examples("200", {"": _inferred(served, example, answer)}),
        "feedback": _Examples("202", {"": (said, accepted), _LIST: ([said], accepted)}),
    }
    if len(bundle.background):
        (explained,) = explain.explain(bundle, [row], _BACKGROUND_OF_EXAMPLE)
        pairs = _one_and_many(example, explain.described(served, explained))
        found["explain"] = _Examples("200", pairs)
    return found


def _one_and_many(request: Any, answer: Any) -> dict[str, tuple[Any, Any]]:
    return {"": (request, answer), _LIST: ([request], [answer])}


def _feedback(served: Served) -> tuple[Any, Any]:
    manifest = served.bundle.manifest
    said = {
        "prediction_id": _PREDICTION_ID,
        "label": manifest.classes.positive.value,
        "observed_at": f"{_OBSERVED_AT.isoformat()}Z",
        "source": "follow-up",
    }
    (record,) = read_feedback([said], manifest.use_case, manifest.classes, _OBSERVED_AT)
    return said, {"accepted": 1, "ids": [record.id]}


def _inferred(served: Served, example: Row, answer: dict[str, Any]) -> tuple[Any, Any]:
    contract, manifest = served.bundle.contract, served.bundle.manifest
    inputs = [
        {
            "name": column.name,
            "shape": [1],
            "datatype": tensors.DATATYPES[column.value_type],
            "data": [example[column.name]],
        }
        for column in contract.columns
    ]
    types = tensors.output_types(manifest.classes)
    outputs = [
        {"name": name, "datatype": kind, "shape": [1], "data": [answer[name]]}
        for name, kind in types.items()
    ]
    head = {"model_name": manifest.use_case, "model_version": served.role.version, "id": "1"}
    parameters = {
        "role": served.name,
        "digest": served.bundle.digest,
        "threshold": manifest.threshold,
    }
    return {"id": "1", "inputs": inputs}, {**head, "parameters": parameters, "outputs": outputs}


def _feedback_schema(served: Served) -> dict[str, Any]:
    manifest = served.bundle.manifest
    both = manifest.classes.negative, manifest.classes.positive
    # A name may be a value, too; each may be there once.
    labels = list(dict.fromkeys([*(each.value for each in both), *(each.label for each in both)]))
    nullable = ["string", "null"]
    return {
        "title": f"{manifest.use_case} feedback",
        "type": "object",
        "properties": {
            "prediction_id": {"type": "string", "pattern": "^[0-9a-f]{32}$"},
            "label": {"enum": labels, "description": "The true class, by its value or its name."},
            "observed_at": {
                "type": nullable,
                "format": "date-time",
                "description": "When it was seen to be true; not in the future.",
            },
            "source": {"type": nullable, "minLength": 1, "maxLength": LONGEST_SOURCE},
        },
        "required": ["prediction_id", "label"],
        "additionalProperties": False,
    }


def _infer_schema(served: Served) -> dict[str, Any]:
    """A request for a contract. That its tensors are of one length no schema can say."""
    bundle = served.bundle
    parameters = {"type": "object"}
    inputs = []
    for column in bundle.contract.columns:
        values = {
            k: v for k, v in column.json_schema().items() if k not in ("title", "description")
        }
        inputs.append(
            {
                "type": "object",
                "properties": {
                    "name": {"const": column.name},
                    "shape": {"type": "array", "items": {"type": "integer"}, "minItems": 1},
                    "datatype": {"const": tensors.DATATYPES[column.value_type]},
                    "parameters": parameters,
                    "data": {"type": "array", "items": values, "minItems": 1},
                },
                "required": ["name", "shape", "datatype", "data"],
            }
        )
    names = list(tensors.output_types(bundle.manifest.classes))
    output = {
        "type": "object",
        "properties": {"name": {"enum": names}, "parameters": parameters},
        "required": ["name"],
    }
    return {
        "title": f"{bundle.manifest.use_case} request",
        "type": "object",
        "properties": {
            "id": {"type": "string"},
            "parameters": parameters,
            "inputs": {"type": "array", "items": {"anyOf": inputs}, "minItems": 1},
            "outputs": {"type": "array", "items": output},
        },
        "required": ["inputs"],
    }
