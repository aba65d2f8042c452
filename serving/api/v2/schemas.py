"""What requests and answers of the protocol look like, for the documentation."""

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, Field

from serving.api.schemas import refusals

_Data = list[str | int | float | bool | None]
_Parameters = dict[str, Any]


class ServerMetadata(BaseModel):
    """What the server is."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """A tensor of a model's requests or answers; -1 is any number of rows."""

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """What a model takes and gives."""

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]


class Live(BaseModel):
    """Whether the process can answer."""

    live: Literal[True]


class Ready(BaseModel):
    """Whether everything has a champion."""

    ready: bool


class ModelReady(BaseModel):
    """Whether a model, or a version of it, answers."""

    name: str
    ready: bool


class Output(BaseModel):
    """A tensor of an answer. One that is binary has its size among its parameters, and no data."""

    name: str
    datatype: str
    shape: list[int]
    parameters: _Parameters | None = None
    data: _Data | None = None


class Inferred(BaseModel):
    """The answer to a request."""

    model_name: str
    model_version: str
    id: str | None = None
    parameters: _Parameters
    outputs: list[Output]


class Error(BaseModel):
    """Why a request was not answered."""

    error: Annotated[str, Field(min_length=1)]


#: The name under which OpenAPI shows a request for the current contract.
INFER_REQUEST: Final = "InferRequest"


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of an endpoint: those of others, but for their form and some more."""
    own = {
        400: "The request is not one for this contract",
        404: "No such model, or this version does not answer",
        415: "The body is compressed",
    }
    found = refusals(*(status for status in statuses if status not in own))
    found |= {status: {"description": own[status]} for status in statuses if status in own}
    # What went wrong within the server looks the same everywhere.
    return {
        status: answer if status == 500 else {**answer, "model": Error}
        for status, answer in found.items()
    }
