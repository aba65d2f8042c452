"""The endpoints: what each answers, and with which status."""

from collections.abc import Mapping
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Path, Response
from fastapi.responses import RedirectResponse
from prometheus_client import CONTENT_TYPE_LATEST

from serving.api.card import card
from serving.api.predict import ENTITY_HEADER, LONGEST_ENTITY, Predict
from serving.api.schemas import ACCESS, BODY, ROW_REFERENCE, Prediction, one_or_many, refusals
from serving.metrics import Metrics
from serving.roles.desired import CHAMPION, ON_TRIAL
from serving.roles.use_case import UseCase
from serving.settings import Settings

PREDICTIONS: Final = "predictions"
OPERATION: Final = "operation"
_METRICS_TYPE: Final = CONTENT_TYPE_LATEST.partition(";")[0]
_Entity = Annotated[
    str | None,
    Header(
        alias=ENTITY_HEADER,
        description="The same id is always answered by the same version. UTF-8.",
        max_length=LONGEST_ENTITY,
    ),
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
    router = APIRouter(responses=refusals(500))
    Name = Annotated[str, Path(examples=list(use_cases))]  # noqa: N806  # a type
    # Of several use cases one has to be named; without, it is 404 with the reason.
    alone = len(use_cases) == 1
    documented: dict[str, Any] = {
        "tags": [PREDICTIONS],
        "response_model": Prediction | list[Prediction],
        "response_description": "What was asked for: an answer, or a list of answers",
        "responses": refusals(404, 415, 422, *BODY),
        "openapi_extra": one_or_many(
            ROW_REFERENCE, settings.batch_rows, "A row, or a list of rows."
        ),
    }

    @router.post("/predict", **documented, include_in_schema=alone)
    async def predict_rows(entity: _Entity = None) -> None:
        """Predict one row, or a list of rows."""

    @router.post("/predict/{use_case}", **documented)
    async def predict_rows_of(use_case: Name, entity: _Entity = None) -> None:
        """Predict rows of a named use case."""

    @router.get(
        "/model",
        tags=[OPERATION],
        responses=refusals(404, *ACCESS),
        include_in_schema=alone,
    )
    async def model() -> dict[str, Any]:
        """Tell what serves, what should serve, and why they differ if they do."""
        return _model(predict.choose(None, "/model"), settings)

    @router.get("/model/{use_case}", tags=[OPERATION], responses=refusals(404, *ACCESS))
    async def model_of(use_case: Name) -> dict[str, Any]:
        """Tell what serves of a named use case."""
        return _model(predict.choose(use_case), settings)

    @router.get("/health/live", tags=[OPERATION])
    async def live() -> dict[str, str]:
        """Answer as long as the process can."""
        return {"status": "live"}

    @router.get(
        "/health/ready",
        tags=[OPERATION],
        responses={503: {"description": "Something has no champion", "model": dict[str, Any]}},
    )
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

    @router.get(
        "/health/startup",
        tags=[OPERATION],
        responses={503: {"description": "Still starting", "model": dict[str, str]}},
    )
    async def startup(response: Response) -> dict[str, str]:
        """Answer 200 once every desired state was looked at, whatever it said."""
        looked = all(each.follower.state.looked for each in use_cases.values())
        if not looked:
            response.status_code = 503
        return {"status": "started" if looked else "starting"}

    @router.get(
        "/metrics",
        tags=[OPERATION],
        response_class=Response,
        responses={
            200: {"content": {_METRICS_TYPE: {"schema": {"type": "string"}}}},
            **refusals(*ACCESS),
        },
    )
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
        "card": card(served.bundle) if served else None,
        "roles": {
            name: {
                **each.role.model_dump(include={"version", "digest", "percent"}),
                "loaded_at": each.loaded_at.isoformat(),
                "features_by": "duckdb" if each.bundle.not_compiled else "compiled",
            }
            for name, each in state.roles.items()
        },
        "desired": {"version": wanted.version, "digest": wanted.digest} if wanted else None,
        "problem": state.problem,
        "on_trial": {
            name: {
                "desired": role.model_dump(include={"version", "digest", "percent"})
                if (role := desired.roles.get(name))
                else None,
                "serves": name in state.roles and state.roles[name].role == role,
                "problem": state.trial_problems.get(name),
            }
            for name in ON_TRIAL
            if desired and (name in desired.roles or name in state.trial_problems)
        },
    }
