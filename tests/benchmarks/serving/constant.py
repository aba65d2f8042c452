"""The least that a FastAPI app can do: validate the row, and answer the same to everybody.

The row is a pydantic model made from the contract, and the answer one as well, which FastAPI then
writes without Python's JSON: without it the app takes a third longer. So this is the quick form.

    python -m tests.benchmarks.serving.constant CONTRACT PORT
"""

import json
import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field, create_model

TYPES = {
    "integer": int, "number": float, "boolean": bool, "text": str, "timestamp": datetime,
    "category": str,
}  # fmt: skip


class Answer(BaseModel):
    """As many values as a prediction of ours has."""

    prediction_id: str = "0" * 32
    use_case: str = "heart_disease"
    version: str = "1"
    digest: str = "0" * 64
    probability: float = 0.12345678901234567
    class_: Annotated[int, Field(alias="class")] = 0
    label: str = "no disease"
    threshold: float = 0.5


def row_model(contract: dict[str, Any]) -> type[BaseModel]:
    """The contract as a pydantic model."""
    fields: dict[str, Any] = {}
    for column in contract["columns"]:
        kind: Any = TYPES[column["type"]]
        if column["allowed"] is not None:
            kind = Literal[tuple(column["allowed"])]
        elif column["minimum"] is not None or column["maximum"] is not None:
            kind = Annotated[kind, Field(ge=column["minimum"], le=column["maximum"])]
        fields[column["name"]] = (kind | None, None) if column["nullable"] else (kind, ...)
    return create_model("Row", __config__=ConfigDict(extra="forbid"), **fields)


def make_app(contract: dict[str, Any]) -> FastAPI:
    app = FastAPI()
    row: Any = row_model(contract)
    answer = Answer()

    async def predict(row: Any) -> Answer:
        return answer

    predict.__annotations__["row"] = row
    app.post("/predict")(predict)

    @app.get("/health/ready")
    async def ready() -> None:
        return None

    return app


if __name__ == "__main__":
    described = json.loads(Path(sys.argv[1]).read_text())
    uvicorn.run(make_app(described), port=int(sys.argv[2]), log_level="error", access_log=False)
