"""A real S3-compatible store, seaweedfs, on loopback: one for each session of tests."""

import json
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

WEED = Path(sys.executable).parent / "weed"
KEY, SECRET = "tests", "secret-of-the-tests"
DEADLINE_SECONDS = 60.0
# Of the master, the volume server, the filer and the S3 gateway.
PORTS = [
    f"-{part}.port{kind}" for part in ("master", "volume", "filer", "s3") for kind in ("", ".grpc")
]


@dataclass(frozen=True)
class Seaweed:
    """Where the store answers, and the credentials that it takes."""

    endpoint: str
    key: str = KEY
    secret: str = SECRET

    def filesystem(self) -> Any:
        """The store as an fsspec file system of its own, without a cache of listings."""
        from s3fs import S3FileSystem

        return S3FileSystem(
            key=self.key,
            secret=self.secret,
            endpoint_url=self.endpoint,
            use_listings_cache=False,
            skip_instance_cache=True,
        )

    def bucket(self) -> str:
        """The name of a new, empty bucket."""
        name = f"tests-{uuid.uuid4().hex[:12]}"
        self.filesystem().mkdir(name)
        return name

    def environment(self) -> dict[str, str]:
        """The variables by which a client finds the store and is let in."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": self.key,
            "AWS_SECRET_ACCESS_KEY": self.secret,
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def seaweed(folder: Path) -> Iterator[Seaweed]:
    """Run the store on a folder.

    Raises:
        RuntimeError: If it ends or does not listen in time; with the end of its log.
    """
    users = folder / "users.json"
    identity = {
        "name": KEY,
        "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
        "actions": ["Admin"],
    }
    users.write_text(json.dumps({"identities": [identity]}))
    (folder / "data").mkdir()
    ports = free_ports(len(PORTS))
    command = [str(WEED), "-logtostderr=true", "server", "-s3", "-filer", f"-s3.config={users}"]
    command += ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-dir={folder / 'data'}"]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=100", "-s3.port.iceberg=0"]
    command += ["-s3.port.lance=0", *(f"{o}={p}" for o, p in zip(PORTS, ports, strict=True))]
    log = folder / "log.txt"
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=folder, stdout=output, stderr=output)
    try:
        port = ports[PORTS.index("-s3.port")]
        deadline = time.monotonic() + DEADLINE_SECONDS
        while not _listens(port):
            if process.poll() is not None or time.monotonic() > deadline:
                said = log.read_text(errors="replace")[-2000:]
                raise RuntimeError(f"seaweedfs does not listen (status {process.poll()}): {said}")
            time.sleep(0.05)
        made = Seaweed(f"http://127.0.0.1:{port}")
        made.bucket()  # its parts have found each other when this is done; the client tries again
        yield made
    finally:
        process.kill()  # it would take ten seconds to say goodbye, and its data are thrown away
        process.wait()
        for port in ports:  # sockets of its own, which it leaves behind
            for path in Path("/tmp").glob(f"seaweedfs-*-{port}.sock"):
                path.unlink(missing_ok=True)


def _listens(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports of loopback that nobody listens at."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]
