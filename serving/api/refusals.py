"""How a refusal looks: `{"detail": ...}`, or `{"error": ...}` where the V2 protocol says so."""

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from serving.api.predict import RefusedError

V2 = "/v2"


def answer_refusals(app: FastAPI) -> None:
    """Have refusals of endpoints, and paths and methods that there are none for, answered."""

    @app.exception_handler(RefusedError)
    async def answer_refused(request: Request, refused: RefusedError) -> JSONResponse:
        headers = {"Retry-After": "1"} if refused.retry else None
        return JSONResponse(refusal(request.scope["path"], refused.detail), refused.status, headers)

    @app.exception_handler(HTTPException)
    async def answer_not_found(request: Request, error: HTTPException) -> JSONResponse:
        content = refusal(request.scope["path"], error.detail)
        return JSONResponse(content, error.status_code, error.headers)


def refusal(path: str, detail: object) -> dict[str, object]:
    """What is answered to a request for a path that is refused."""
    if path == V2 or path.startswith(f"{V2}/"):
        return {"error": detail if isinstance(detail, str) else _sentence(detail)}
    return {"detail": detail}


def _sentence(problems: object) -> str:
    """One line of the problems of rows: that protocol has no place for more."""
    assert isinstance(problems, list)
    parts = []
    for problem in problems:
        _, *where = problem["loc"]
        names = [f"row {each}" if isinstance(each, int) else each for each in where]
        parts.append(": ".join([*names, problem["msg"]]))
    return "; ".join(parts)
