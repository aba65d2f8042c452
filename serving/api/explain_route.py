"""The endpoint `/explain`; see `serving.api.explain`."""

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse

from serving.api.explain import MOST_ROWS, Explainer, NoBackgroundError
from serving.api.predict import Predict, RefusedError, read_body, read_payloads
from serving.api.routes import PREDICTIONS
from serving.api.schemas import BODY, ROW_REFERENCE, Explained, one_or_many, refusals
from serving.roles.use_case import UseCase

_Version = Annotated[
    str | None,
    Query(description="Whose answer to explain; without it, the champion's."),
]


def build_explain_router(
    use_cases: Mapping[str, UseCase], predict: Predict, explainer: Explainer
) -> APIRouter:
    """Make the endpoints that explain.

    Args:
        use_cases: What is served, by name.
        predict: Knows the use case of a request, and what is refused how.
        explainer: Does the work.
    """
    router = APIRouter(tags=[PREDICTIONS], responses=refusals(500))
    Name = Annotated[str, Path(examples=list(use_cases))]  # noqa: N806  # a type
    documented: dict[str, Any] = {
        "response_model": Explained | list[Explained],
        "response_description": "What was asked for: an explanation, or a list of them",
        "responses": refusals(404, 409, 422, *BODY),
        "openapi_extra": one_or_many(ROW_REFERENCE, MOST_ROWS, "A row, or a list of rows."),
    }

    async def explain(name: str | None, version: str | None, request: Request) -> JSONResponse:
        use_case = predict.choose(name, "/explain")
        payloads, many = read_payloads(await read_body(request.receive), MOST_ROWS)
        with predict.refusing():
            served = use_case.find(version)
            try:
                found = await explainer.explain(served, payloads)
            except NoBackgroundError:
                detail = (
                    f"version {served.role.version} has no background rows to compare an answer "
                    "with: it was registered before bundles had them"
                )
                raise RefusedError(409, detail) from None
        return JSONResponse(found if many else found[0])

    @router.post("/explain", **documented, include_in_schema=len(use_cases) == 1)
    async def explain_rows(request: Request, version: _Version = None) -> JSONResponse:
        """Tell how much each feature moved the answer away from the usual one.

        `base_value` is the mean probability of up to 64 training rows; the contributions add up to
        `probability - base_value`. They are Shapley values by sampled permutations.
        """
        return await explain(None, version, request)

    @router.post("/explain/{use_case}", **documented)
    async def explain_rows_of(
        use_case: Name, request: Request, version: _Version = None
    ) -> JSONResponse:
        """Explain answers of a named use case."""
        return await explain(use_case, version, request)

    return router
