"""The endpoints under `/v2`: what each answers, and with which status.

A use case is a model of the protocol, and its versions are those that answer: the champion's and
the challenger's. Rows take the same way as those of `/predict`.
"""

from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as version_of
from typing import Annotated, Any, Final

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from serving.api.predict import (
    COMPRESSED,
    Asked,
    Predict,
    RefusedError,
    entity_of,
    is_compressed,
    read_body,
    request_id_of,
)
from serving.api.refusals import V2
from serving.api.schemas import ACCESS, BODY
from serving.api.v2 import tensors
from serving.api.v2.schemas import (
    INFER_REQUEST,
    Inferred,
    Live,
    ModelMetadata,
    ModelReady,
    Ready,
    ServerMetadata,
    errors,
)
from serving.roles.follower import Served
from serving.roles.use_case import UseCase
from serving.settings import Settings

_PLATFORM: Final = "onnx_onnxv1"
_JSON_BYTES: Final = "Inference-Header-Content-Length"
_BINARY: Final = "application/octet-stream"
_BAD_REQUEST: Final = 400
_BREAKS_CONTRACT: Final = 422

_Version = Annotated[str, Path(description="The champion's or the challenger's.", examples=["1"])]


def build_v2_router(
    settings: Settings, use_cases: Mapping[str, UseCase], predict: Predict
) -> APIRouter:
    """Make the endpoints of the protocol.

    Args:
        settings: For the number of rows a request may hold.
        use_cases: What is served, by name.
        predict: Answers rows.
    """
    router = APIRouter(prefix=V2, tags=["Open Inference Protocol"], responses=errors(500))
    Model = Annotated[str, Path(description="A use case.", examples=list(use_cases))]  # noqa: N806

    @router.get("", response_model=ServerMetadata, responses=errors(*ACCESS))
    async def server_metadata() -> dict[str, Any]:
        """Tell what this server is, and which extensions of the protocol it has."""
        return {"name": "serving", "version": _version(), "extensions": ["binary_tensor_data"]}

    @router.get("/health/live", response_model=Live)
    async def live() -> dict[str, bool]:
        """Answer as long as the process can."""
        return {"live": True}

    @router.get("/health/ready", response_model=Ready, responses={503: {"model": Ready}})
    async def ready(response: Response) -> dict[str, bool]:
        """Answer 200 when every use case is served."""
        served = all(each.follower.state.champion for each in use_cases.values())
        found = served and not predict.draining
        response.status_code = 200 if found else 503
        return {"ready": found}

    def metadata(name: str, version: str | None) -> dict[str, Any]:
        with predict.refusing():
            use_case = predict.choose(name)
            return _metadata(use_case, use_case.find(version), version)

    described: dict[str, Any] = {
        "response_model": ModelMetadata,
        "responses": errors(404, 503, *ACCESS),
    }

    @router.get("/models/{name}", **described)
    async def model_metadata(name: Model) -> dict[str, Any]:
        """Tell what tensors a model takes and gives: the champion's contract."""
        return metadata(name, None)

    @router.get("/models/{name}/versions/{version}", **described)
    async def version_metadata(name: Model, version: _Version) -> dict[str, Any]:
        """Tell what tensors a version takes and gives."""
        return metadata(name, version)

    def model_is_ready(name: str, version: str | None) -> JSONResponse:
        with predict.refusing():
            use_case = predict.choose(name)
            found = use_case.follower.state.champion is not None
            if found:
                use_case.find(version)
        return JSONResponse({"name": name, "ready": found}, 200 if found else 503)

    described = {
        "response_model": ModelReady,
        "responses": {
            **errors(404, *ACCESS),
            503: {"description": "No champion", "model": ModelReady},
        },
    }

    @router.get("/models/{name}/ready", **described)
    async def model_ready(name: Model) -> JSONResponse:
        """Answer 200 when a model has a champion."""
        return model_is_ready(name, None)

    @router.get("/models/{name}/versions/{version}/ready", **described)
    async def version_ready(name: Model, version: _Version) -> JSONResponse:
        """Answer 200 when a version answers."""
        return model_is_ready(name, version)

    async def infer(name: str, version: str | None, request: Request) -> Response:
        use_case = predict.choose(name)
        if is_compressed(request.scope):
            raise RefusedError(415, COMPRESSED)
        body = await read_body(request.receive)
        with predict.refusing():
            bundle = use_case.find(version).bundle
        try:
            asked = tensors.read_request(body, _json_bytes(request))
            chosen = tensors.wanted(asked, tensors.output_types(bundle.manifest.classes))
            payloads = tensors.rows_of(asked, bundle.contract, settings.batch_rows)
            rows = Asked(
                payloads, request_id_of(request.scope), entity_of(request.scope), len(body)
            )
            answer = await predict.ask(use_case, rows, version)
        except tensors.TensorError as error:
            raise RefusedError(_BAD_REQUEST, str(error)) from None
        except RefusedError as refusal:
            # The protocol knows one status for whatever is wrong with a request.
            if refusal.status == _BREAKS_CONTRACT:
                raise RefusedError(_BAD_REQUEST, refusal.detail) from None
            raise
        # Whoever answers may be another one than was found: a challenger, or after a swap.
        bundle = answer.served.bundle
        types = tensors.output_types(bundle.manifest.classes)
        head = {
            "model_name": name,
            "model_version": answer.served.role.version,
            **({} if asked.id is None else {"id": asked.id}),
            "parameters": {
                "role": answer.served.name,
                "digest": bundle.digest,
                "threshold": bundle.manifest.threshold,
            },
        }
        request.state.version = answer.served.role.version
        answers = predict.describe(use_case, answer, rows.ids)
        content, json_bytes = tensors.write_outputs(head, answers, types, chosen)
        if json_bytes is None:
            return Response(content, media_type="application/json")
        return Response(content, headers={_JSON_BYTES: str(json_bytes)}, media_type=_BINARY)

    schema = {"schema": {"$ref": f"#/components/schemas/{INFER_REQUEST}"}}
    described = {
        "response_model": Inferred,
        "responses": {
            200: {"content": {_BINARY: {"schema": {"type": "string", "format": "binary"}}}},
            **errors(404, 415, *BODY),
        },
        "openapi_extra": {
            "requestBody": {"required": True, "content": {"application/json": schema}}
        },
    }

    @router.post("/models/{name}/infer", **described)
    async def model_infer(name: Model, request: Request) -> Response:
        """Predict rows, a tensor for each column.

        A column that may be null may be left out, and null is a value. Tensors may be binary, in
        both directions; NaN in a binary tensor is read as null.
        """
        return await infer(name, None, request)

    @router.post("/models/{name}/versions/{version}/infer", **described)
    async def version_infer(name: Model, version: _Version, request: Request) -> Response:
        """Predict rows by one version, whoever it is that would be asked otherwise."""
        return await infer(name, version, request)

    return router


def _metadata(use_case: UseCase, served: Served, version: str | None) -> dict[str, Any]:
    bundle = served.bundle
    outputs = tensors.output_types(bundle.manifest.classes)
    inputs = {
        column.name: tensors.DATATYPES[column.value_type] for column in bundle.contract.columns
    }
    return {
        "name": use_case.name,
        "versions": use_case.versions if version is None else [version],
        "platform": _PLATFORM,
        "inputs": _tensors(inputs),
        "outputs": _tensors(outputs),
    }


def _tensors(types: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "datatype": kind, "shape": [-1]} for name, kind in types.items()]


def _json_bytes(request: Request) -> int | None:
    given = request.headers.get(_JSON_BYTES)
    if given is None:
        return None
    # Not int() alone, which takes signs and other alphabets' digits.
    if not (given.isascii() and given.isdigit() and len(given) < 10):
        raise tensors.TensorError(f"the header {_JSON_BYTES} must be a number")
    return int(given)


def _version() -> str:
    try:
        return version_of("mlops-assets")
    except PackageNotFoundError:
        # The folder alone was copied into an image.
        return "unknown"
