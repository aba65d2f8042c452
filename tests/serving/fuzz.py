"""Sends what schemathesis makes up from the OpenAPI schema, good and bad, to the real server.

python -m tests.serving.fuzz [CASES]
"""

import subprocess
import sys
import tempfile
from pathlib import Path

from tests.serving.bundles import desire, make_bundle
from tests.serving.server import Server

CASES = 2000
# Whether all that fits the schema is accepted is not asked: no schema can say that the tensors of a
# request are of one length, or that a number must fit the model's.
CHECKS = (
    "not_a_server_error", "status_code_conformance", "content_type_conformance",
    "response_headers_conformance", "response_schema_conformance", "unsupported_method",
)  # fmt: skip


def fuzz(url: str, phases: str, cases: int) -> subprocess.CompletedProcess[str]:
    """Run schemathesis.

    Args:
        url: The app's.
        phases: Its phases, a comma between.
        cases: The most that are made up for each endpoint.
    """
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json"]
    command += ["--checks", ",".join(CHECKS), "--phases", phases, "--max-examples", str(cases)]
    command += [
        "--seed",
        "1",
        "--no-color",
        "--continue-on-failure",
        "--generation-database",
        "none",
    ]
    # It leaves a folder behind where it runs.
    with tempfile.TemporaryDirectory() as folder:
        return subprocess.run(
            command, cwd=folder, capture_output=True, text=True, check=False, timeout=600
        )


def main() -> int:
    """Print what was found; return the exit status."""
    cases = int(sys.argv[1]) if len(sys.argv) > 1 else CASES
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        desire(root, make_bundle(root))
        server = Server(root)
        try:
            server.wait_for("1")
            # Shared among the 21 endpoints; boundary values and missing parts come on top.
            done = fuzz(str(server.client.base_url), "examples,coverage,fuzzing", -(-cases // 21))
        finally:
            server.stop()
    print(done.stdout, done.stderr)
    return done.returncode


if __name__ == "__main__":
    sys.exit(main())
