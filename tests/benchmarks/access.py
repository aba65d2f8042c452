"""What the layer around every request costs: microseconds of one core, by what is turned on.

python -m tests.benchmarks.access
"""

import hashlib
import os
import tempfile
from pathlib import Path
from time import process_time

import uvloop
from starlette.types import Message, Receive, Scope, Send

from serving.access.keys import ApiKeys, parse_api_keys
from serving.access.limits import Limits
from serving.access.middleware import HEALTH, Access, Rules
from serving.metrics import Metrics
from serving.tracing import ENDPOINT, Tracer

REQUESTS = 20_000
ROUNDS = 5
KEY = b"mlops_0123456789012345678901234567890123456789012"
BODY: Message = {"type": "http.request", "body": b"{}" * 100, "more_body": False}
HEADERS = [
    (b"host", b"127.0.0.1:8000"),
    (b"user-agent", b"wrk"),
    (b"accept", b"*/*"),
    (b"accept-encoding", b"gzip, deflate"),
    (b"connection", b"keep-alive"),
    (b"content-type", b"application/json"),
    (b"content-length", b"200"),
    (b"x-api-key", KEY),
]


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Read the body and answer."""
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"{}", "more_body": False})


class NoMetrics(Metrics):
    """Counts nothing: shows what the layer costs without them."""

    def request(self, route: str, status: int, seconds: float) -> None:
        """Forget it."""


async def microseconds(asked: Access | None) -> float:
    """The cost of a request, the best of several rounds."""

    async def receive() -> Message:
        return BODY

    async def send(message: Message) -> None:
        pass

    best = float("inf")
    for _ in range(ROUNDS):
        started = process_time()
        for _ in range(REQUESTS):
            scope: Scope = {
                "type": "http", "method": "POST", "path": "/predict", "headers": HEADERS,
                "client": ("192.0.2.1", 1), "state": {},
            }  # fmt: skip
            await (asked or app)(scope, receive, send)
        best = min(best, process_time() - started)
    return best / REQUESTS * 1e6


async def main() -> None:
    """Print a table."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "keys"
        file.write_text("".join(f"n{i}:{i:064x}\n" for i in range(99)))
        given = parse_api_keys(f"alice:{hashlib.sha256(KEY).hexdigest()}")

        def rules(keys: bool, limits: bool) -> Rules:
            asked = ApiKeys(given, file) if keys else ApiKeys({})
            return Rules(asked, Limits(1e6, 10**6) if limits else None, HEALTH, 1 << 20, 20.0)

        none = await microseconds(None)
        print(f"the app alone: {none:.1f} us")
        os.environ[ENDPOINT] = "http://127.0.0.1:9"  # nobody listens
        tracer = Tracer("heart_disease")
        for name, layer in (
            ("ids, sizes and deadlines", Access(app, NoMetrics(), rules(False, False))),
            ("with API keys (100)", Access(app, NoMetrics(), rules(True, False))),
            ("with rates", Access(app, NoMetrics(), rules(True, True))),
            ("with metrics", Access(app, Metrics(), rules(True, True))),
            ("with traces", Access(app, Metrics(), rules(True, True), tracer)),
        ):
            print(f"{name}: {await microseconds(layer) - none:.1f} us more than the app")


if __name__ == "__main__":
    uvloop.run(main())
    os._exit(0)  # the spans go nowhere, and nobody waits for them
