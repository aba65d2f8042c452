"""The endpoints: what each answers, and with which status."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, HTTPException, Path, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field, StrictBool, StrictFloat, StrictInt, StrictStr

from serving.desired import CHAMPION
from serving.metrics import Metrics
from serving.predict import ENTITY_HEADER, Predict, RefusedError
from serving.settings import Settings
from serving.use_case import UseCase

#: The name under which OpenAPI shows the current contract; see `serving.app`.
ROW_SCHEMA: Final = "Row"


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
    class_: Annotated[StrictBool | StrictInt | StrictFloat | StrictStr, Field(alias="class")]
    label: str
    threshold: Annotated[float, Field(ge=0, le=1)]
    warnings: list[Warned]


_PREDICT: Final[dict[str, Any]] = {
    "response_model": Prediction | list[Prediction],
    "response_description": "What was asked for: an answer, or a list of answers",
    "responses": {
        400: {"description": "The client went away", "model": Detail},
        404: {"description": "No such use case here", "model": Detail},
        401: {"description": "An API key is needed", "model": Detail},
        408: {"description": "The body did not arrive in time", "model": Detail},
        413: {"description": "The body is larger than the server takes", "model": Detail},
        422: {"description": "A row breaks the contract", "model": Problems},
        429: {"description": "Too many requests of one client", "model": Detail},
        503: {
            "description": "Nothing to serve yet, or too many rows are waiting: "
            "try again after `Retry-After` seconds",
            "model": Detail,
        },
    },
    "openapi_extra": {
        "requestBody": {
            "required": True,
            "description": "A row, or a list of rows.",
            "content": {
                "application/json": {
                    "schema": {
                        "anyOf": [
                            {"$ref": f"#/components/schemas/{ROW_SCHEMA}"},
                            {
                                "type": "array",
                                "items": {"$ref": f"#/components/schemas/{ROW_SCHEMA}"},
                                "minItems": 1,
                            },
                        ]
                    }
                }
            },
        }
    },
}
_Entity = Annotated[
    str | None,
    Header(alias=ENTITY_HEADER, description="The same id is always answered by the same version."),
]


def build_router(
    settings: Settings, use_cases: Mapping[str, UseCase], metrics: Metrics, predict: Predict
) -> APIRouter:
    """Make the endpoints of one app.

    Args:
        settings: For the environment.
        use_cases: What is served, by name.
        metrics: What `/metrics` shows.
        predict: Answers `/predict`; its routes here are for the documentation and other methods.
    """
    router = APIRouter()
    example = next(iter(use_cases))
    Name = Annotated[str, Path(examples=[example])]  # noqa: N806  # a type

    def find(name: str | None) -> UseCase:
        try:
            return predict.choose(name)
        except RefusedError as refusal:
            raise HTTPException(refusal.status, refusal.detail) from None

    @router.post("/predict", **_PREDICT)
    async def predict_rows(entity: _Entity = None) -> None:
        """Predict one row, or a list of rows."""

    @router.post("/predict/{use_case}", **_PREDICT)
    async def predict_rows_of(use_case: Name, entity: _Entity = None) -> None:
        """Predict rows of a named use case."""

    @router.get("/model")
    async def model() -> dict[str, Any]:
        """Tell what serves, what should serve, and why they differ if they do."""
        return _model(find(None), settings)

    @router.get("/model/{use_case}", responses={404: {"model": Detail}})
    async def model_of(use_case: Name) -> dict[str, Any]:
        """Tell what serves of a named use case."""
        return _model(find(use_case), settings)

    @router.get("/health/live")
    async def live() -> dict[str, str]:
        """Answer as long as the process can."""
        return {"status": "live"}

    @router.get("/health/ready", responses={503: {"description": "Something has no champion"}})
    async def ready(response: Response) -> dict[str, Any]:
        """Answer 200 when every use case is served; `problem` may tell of a newer version."""
        found = {name: each.follower.state for name, each in use_cases.items()}
        served = all(state.champion for state in found.values()) and not predict.draining
        if not served:
            response.status_code = 503
        return {
            "status": "ready" if served else "draining" if predict.draining else "not ready",
            "use_cases": {
                name: {
                    "version": state.champion.role.version if state.champion else None,
                    "problem": state.problem,
                }
                for name, state in found.items()
            },
        }

    @router.get("/health/startup", responses={503: {"description": "Still starting"}})
    async def startup(response: Response) -> dict[str, str]:
        """Answer 200 once every desired state was looked at, whatever it said."""
        looked = all(each.follower.state.looked for each in use_cases.values())
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


def _model(use_case: UseCase, settings: Settings) -> dict[str, Any]:
    state = use_case.follower.state
    served, desired = state.champion, state.desired
    wanted = desired.roles.get(CHAMPION) if desired else None
    manifest = served.bundle.manifest if served else None
    return {
        "use_case": use_case.name,
        "environment": settings.environment,
        "source": use_case.follower.where,
        "ready": served is not None,
        "version": served.role.version if served else None,
        "digest": served.bundle.digest if served else None,
        "bundle": served.role.bundle if served else None,
        "algorithm": manifest.lineage.get("algorithm") if manifest else None,
        "features": manifest.features if manifest else None,
        "threshold": manifest.threshold if manifest else None,
        "lineage": manifest.lineage if manifest else None,
        "not_compiled": served.bundle.not_compiled if served else None,
        "loaded_at": served.loaded_at.isoformat() if served else None,
        "desired": {"version": wanted.version, "digest": wanted.digest} if wanted else None,
        "problem": state.problem,
        "on_trial": {
            name: {
                "desired": role.model_dump(include={"version", "digest", "percent"}),
                "serves": name in state.roles and state.roles[name].role == role,
                "problem": state.trial_problems.get(name),
            }
            for name, role in (desired.roles.items() if desired else ())
            if name != CHAMPION
        },
    }
