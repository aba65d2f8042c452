"""The endpoint `/feedback`; see `serving.api.feedback`."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from serving.api.feedback import FullError, Keep, read_feedback
from serving.api.predict import Predict, RefusedError, read_body, read_payloads, request_id_of
from serving.api.routes import PREDICTIONS
from serving.api.schemas import BODY, FEEDBACK_REFERENCE, Accepted, one_or_many, refusals
from serving.roles.use_case import UseCase
from serving.settings import Settings


def build_feedback_router(
    settings: Settings, use_cases: Mapping[str, UseCase], predict: Predict, keep: Keep
) -> APIRouter:
    """Make the endpoints that take feedback.

    Args:
        settings: For the number of records a request may hold, and whether any are kept.
        use_cases: What is served, by name.
        predict: Knows the use case of a request, and what is refused how.
        keep: Keeps what was said.
    """
    router = APIRouter(tags=[PREDICTIONS], responses=refusals(500))
    Name = Annotated[str, Path(examples=list(use_cases))]  # noqa: N806  # a type
    documented: dict[str, Any] = {
        "status_code": 202,
        "response_model": Accepted,
        "responses": refusals(404, 422, 501, *BODY),
        "openapi_extra": one_or_many(
            FEEDBACK_REFERENCE,
            settings.batch_rows,
            "What turned out to be true, once or as a list.",
        ),
    }

    async def take(name: str | None, request: Request) -> JSONResponse:
        use_case = predict.choose(name, "/feedback")
        if not settings.prediction_log:
            raise RefusedError(501, "this server records nothing: its prediction log is off")
        payloads, _ = read_payloads(await read_body(request.receive), settings.batch_rows)
        now = datetime.now(UTC)
        with predict.refusing():
            classes = use_case.find().bundle.manifest.classes
            records = read_feedback(payloads, use_case.name, classes, now.replace(tzinfo=None))
        try:
            keep(records, request_id_of(request.scope), now.timestamp())
        except FullError as error:
            raise RefusedError(503, str(error), retry=True) from None
        found = {"accepted": len(records), "ids": [record.id for record in records]}
        return JSONResponse(found, 202)

    @router.post("/feedback", **documented, include_in_schema=len(use_cases) == 1)
    async def feedback(request: Request) -> JSONResponse:
        """Tell what turned out to be true of a prediction, or of several.

        It is safe to say it again: the same content has the same id.
        """
        return await take(None, request)

    @router.post("/feedback/{use_case}", **documented)
    async def feedback_of(use_case: Name, request: Request) -> JSONResponse:
        """Tell what turned out to be true of predictions of a named use case."""
        return await take(use_case, request)

    return router
