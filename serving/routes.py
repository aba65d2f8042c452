"""The endpoints: what each answers, and with which status."""

import asyncio
from concurrent.futures import Executor
from time import perf_counter
from typing import Annotated, Any, Final
from uuid import uuid4

from fastapi import APIRouter, HTTPException, Path, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr
from starlette.requests import ClientDisconnect

from serving.bundle.contract import RowError
from serving.bundle.features import FeatureError
from serving.follower import Follower
from serving.metrics import Metrics
from serving.settings import Settings

#: The name under which OpenAPI shows the current contract; see `serving.app`.
ROW_SCHEMA: Final = "Row"


class Problem(BaseModel):
    """One reason why a row was not accepted."""

    loc: list[str]
    msg: str
    type: str


class Problems(BaseModel):
    """Every reason why a row was not accepted."""

    detail: list[Problem]


class Prediction(BaseModel):
    """The answer to one row."""

    prediction_id: str
    use_case: str
    version: str
    digest: str
    probability: Annotated[float, Field(ge=0, le=1)]
    class_: Annotated[StrictBool | StrictInt | StrictFloat | StrictStr, Field(alias="class")]
    label: str
    threshold: Annotated[float, Field(ge=0, le=1)]


_PREDICT_DOCUMENTATION: Final[dict[str, Any]] = {
    "response_description": "The probability of the positive class, and the class it means",
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"$ref": f"#/components/schemas/{ROW_SCHEMA}"}}
            },
        }
    },
    "responses": {
        413: {"description": "The body is larger than the server takes"},
        422: {"description": "The row breaks the contract", "model": Problems},
        503: {"description": "Nothing to serve yet; try again after `Retry-After` seconds"},
    },
}


def build_router(
    settings: Settings, follower: Follower, metrics: Metrics, workers: Executor
) -> APIRouter:
    """Make the endpoints of one app.

    Args:
        settings: For the name of the use case.
        follower: Holds the bundle that serves.
        metrics: Counts predictions.
        workers: Threads for predictions: DuckDB and ONNX Runtime would block the event loop.
    """
    router = APIRouter()

    @router.post("/predict", response_model=Prediction, **_PREDICT_DOCUMENTATION)
    async def predict(request: Request) -> Response:
        """Predict one row."""
        body = await _read(request)
        served = follower.state.current
        if served is None:
            detail = "nothing to serve at present; GET /model tells why"
            return JSONResponse({"detail": detail}, 503, {"Retry-After": "1"})
        bundle = served.bundle
        request.state.version = served.role.version
        start = perf_counter()
        try:
            row = bundle.contract.parse(body)
            metrics.stage("validate", perf_counter() - start)
            (probability,) = await asyncio.get_running_loop().run_in_executor(
                workers, bundle.predict, [row], metrics.stage
            )
        except RowError as error:
            return JSONResponse({"detail": error.problems}, 422)
        except FeatureError as error:
            problem = {"loc": ["body"], "msg": str(error), "type": "feature_error"}
            return JSONResponse({"detail": [problem]}, 422)
        probability = float(probability)
        outcome = bundle.classify(probability)
        metrics.prediction(served.role.version, str(outcome.value), probability)
        return JSONResponse(
            {
                "prediction_id": uuid4().hex,
                "use_case": settings.use_case,
                "version": served.role.version,
                "digest": bundle.digest,
                "probability": probability,
                "class": outcome.value,
                "label": outcome.label,
                "threshold": bundle.manifest.threshold,
            }
        )

    @router.post("/predict/{use_case}", response_model=Prediction, **_PREDICT_DOCUMENTATION)
    async def predict_use_case(
        request: Request, use_case: Annotated[str, Path(examples=[settings.use_case])]
    ) -> Response:
        """Predict one row of a named use case; for callers that talk to several servers."""
        if use_case != settings.use_case:
            raise HTTPException(404, f"this server serves {settings.use_case!r} only")
        return await predict(request)

    @router.get("/model")
    async def model() -> dict[str, Any]:
        """Tell what serves, what should serve, and why they differ if they do."""
        state = follower.state
        served, desired = state.current, state.desired
        manifest = served.bundle.manifest if served else None
        return {
            "use_case": settings.use_case,
            "environment": settings.environment,
            "ready": served is not None,
            "version": served.role.version if served else None,
            "digest": served.bundle.digest if served else None,
            "bundle": served.role.bundle if served else None,
            "algorithm": manifest.lineage.get("algorithm") if manifest else None,
            "features": manifest.features if manifest else None,
            "threshold": manifest.threshold if manifest else None,
            "lineage": manifest.lineage if manifest else None,
            "loaded_at": served.loaded_at.isoformat() if served else None,
            "desired": {"version": desired.version, "digest": desired.digest} if desired else None,
            "problem": state.problem,
        }

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """Answer as long as the process can."""
        return {"status": "live"}

    @router.get("/health/ready", responses={503: {"description": "Nothing to serve"}})
    async def ready(response: Response) -> dict[str, str | None]:
        """Answer 200 when predictions are served; `problem` may still tell of a newer version."""
        state = follower.state
        served = state.current
        if served is None:
            response.status_code = 503
        return {
            "status": "ready" if served else "not ready",
            "version": served.role.version if served else None,
            "problem": state.problem,
        }

    @router.get("/health/startup", responses={503: {"description": "Still starting"}})
    async def startup(response: Response) -> dict[str, str]:
        """Answer 200 once the desired state was looked at, whatever it said."""
        looked = follower.state.looked
        if not looked:
            response.status_code = 503
        return {"status": "started" if looked else "starting"}

    @router.get("/metrics", response_class=Response)
    async def metrics_text() -> Response:
        """Metrics in Prometheus' text format."""
        return Response(metrics.text(), media_type=CONTENT_TYPE_LATEST)

    @router.get("/", include_in_schema=False)
    async def root() -> RedirectResponse:
        return RedirectResponse("/docs")

    return router


async def _read(request: Request) -> bytes:
    try:
        return await request.body()
    except ClientDisconnect:
        # Nobody reads this answer; without it the log would show an error of ours.
        raise HTTPException(400, "the client went away") from None
