"""`python -m tests.ci.image` (`make image-check`): runs both images as a cluster would.

Read-only, without a capability, as a user who has no name, on the host's network: the serving image
answers a prediction with a champion that is made here, and the dagster image loads its definitions
and ingests the reference data.
"""

import argparse
import contextlib
import json
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from mlops_assets.lib.bundles.sandbox import free_port
from tests.serving.bundles import PAYLOAD, USE_CASE, desire, make_bundle

LOCKED_DOWN = ["--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
LOCKED_DOWN += ["--security-opt", "no-new-privileges", "--user", "10001:10001", "--network", "host"]
START_SECONDS = 60.0


class ImageError(Exception):
    """An image does not do what it is for; the message says what it did."""


class Images:
    """Runs images with docker, or with another program that takes the same words."""

    def __init__(self, docker: str) -> None:
        self.docker = docker

    def inspect(self, image: str) -> dict[str, Any]:
        """What the image says of itself."""
        found: list[dict[str, Any]] = json.loads(self._call("image", "inspect", image))
        return found[0]

    def run(self, image: str, *command: str, options: Sequence[str] = ()) -> str:
        """Run a command in a container to its end, and give what it printed.

        Raises:
            ImageError: If it does not end with status 0.
        """
        return self._call("run", "--rm", *LOCKED_DOWN, *options, image, *command)

    @contextlib.contextmanager
    def running(self, image: str, options: Sequence[str], *command: str) -> Iterator[str]:
        """A container at work on a command, or on the image's own; removed at the end."""
        name = self._call("run", "--detach", *LOCKED_DOWN, *options, image, *command).strip()
        try:
            yield name
        except ImageError as error:
            raise ImageError(f"{error}; it said:\n{self.log(name)}") from None
        finally:
            self._call("rm", "--force", name)

    def log(self, name: str) -> str:
        command = [self.docker, "logs", name]
        return subprocess.run(
            command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
        ).stdout

    def execute(self, name: str, *command: str) -> str:
        """Run a command in a running container."""
        return self._call("exec", name, *command)

    def _call(self, *words: str) -> str:
        done = subprocess.run([self.docker, *words], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise ImageError(
                f"{self.docker} {' '.join(words)} ended with status {done.returncode}: "
                f"{done.stderr[-3000:]}{done.stdout[-2000:]}"
            )
        return done.stdout


def check_serving(images: Images, image: str) -> str:
    """Let the image answer a request with a champion; say how large it is and how long it took.

    Raises:
        ImageError: If it does not.
    """
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "storage"
        champion = make_bundle(root)
        desire(root, champion)
        _readable(Path(folder))
        port = free_port()
        options = ["--volume", f"{root}:/state/storage:ro", "--tmpfs", "/state/spool:mode=1777"]
        given = {"USE_CASE": USE_CASE, "PORT": str(port), "INSECURE_NO_API_KEYS": "true"}
        given |= {"HOST": "127.0.0.1", "PREDICTION_LOG": "false"}
        options += [word for k, v in given.items() for word in ("--env", f"SERVING_{k}={v}")]
        started = time.monotonic()
        with images.running(image, options) as name:
            _wait(f"http://127.0.0.1:{port}/health/ready", started)
            ready = time.monotonic() - started
            answer = _post(f"http://127.0.0.1:{port}/predict", PAYLOAD)
            expected = champion.probability(PAYLOAD)
            if abs(answer["probability"] - expected) > 1e-5:
                raise ImageError(f"it answers {answer}, and the probability is {expected}")
            images.execute(name, "python", "-m", "serving.alive")
            _refuses_writes(images, name)
    size = images.inspect(image)["Size"] / 1e6
    return f"{image}: {size:.0f} MB, ready after {ready:.1f} s, answers {answer['probability']:.4f}"


def check_dagster(images: Images, image: str) -> str:
    """Let the image load its definitions and ingest data; say how large it is and how long it took.

    Raises:
        ImageError: If it does not.
    """
    state = ["--tmpfs", "/state:mode=1777"]
    # The image's own command, on a port that is free here.
    command = images.inspect(image)["Config"]["Cmd"]
    port = str(free_port())
    command = [port if word == "4000" else word for word in command]
    started = time.monotonic()
    with images.running(image, state, *command) as name:
        while True:
            try:
                images.execute(name, "dagster", "api", "grpc-health-check", "--port", port)
                break
            except ImageError:
                if time.monotonic() > started + START_SECONDS:
                    raise
        loaded = time.monotonic() - started
    said = images.run(
        image, "mlops", "gate", "--data-only", "--report", "/tmp/report", options=state
    )
    result = next(line for line in said.splitlines() if line.startswith("data of"))
    size = images.inspect(image)["Size"] / 1e6
    return f"{image}: {size:.0f} MB, code server answers after {loaded:.1f} s; {result}"


def _wait(url: str, started: float) -> None:
    """Wait until an address answers 200."""
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except OSError as error:  # nothing listens yet, or it is not ready
            if time.monotonic() > started + START_SECONDS:
                raise ImageError(f"{url} does not answer: {error}") from None
        time.sleep(0.05)


def _post(url: str, row: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url, json.dumps(row).encode(), {"content-type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            found: dict[str, Any] = json.load(answer)
    except urllib.error.HTTPError as error:
        raise ImageError(f"{url} answers {error.code}: {error.read().decode()[:500]}") from None
    return found


def _readable(folder: Path) -> None:
    """Let a user who has no name read a folder."""
    for path in [folder, *folder.rglob("*")]:
        path.chmod(0o755 if path.is_dir() else 0o644)


def _refuses_writes(images: Images, name: str) -> None:
    """Make sure that the code cannot be changed from inside."""
    probe = "open('/app/serving/app.py', 'a')"
    try:
        images.execute(name, "python", "-c", probe)
    except ImageError:
        return
    raise ImageError("a process in the container can write to its own code")


def main(arguments: Sequence[str]) -> int:
    """Check both images.

    Returns:
        0 if they do what they are for, 1 if not (the reason is on standard error).
    """
    parser = argparse.ArgumentParser(prog="python -m tests.ci.image", description=__doc__)
    parser.add_argument("--docker", default="docker", help="docker or podman")
    parser.add_argument("serving", help="the serving image")
    parser.add_argument("dagster", help="the dagster image")
    options = parser.parse_args(arguments)
    images = Images(options.docker)
    try:
        print(check_serving(images, options.serving), flush=True)
        print(check_dagster(images, options.dagster), flush=True)
    except ImageError as error:
        print(f"image-check: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
