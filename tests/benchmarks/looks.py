"""What a look at what should serve costs while nothing changes: requests, CPU and time.

A server looks every second (`--poll-seconds`) for each use case and worker, so a look must be small
beside a request that it answers. Target: one request, and less than 2 ms of CPU.
"""

import os
import tempfile
import time
from pathlib import Path

from mlops_assets.lib.storage.root import Storage
from serving.metrics import Metrics
from serving.prediction_log.log import PredictionLog
from serving.roles.follower import Follower
from serving.settings import Settings
from serving.storage.bucket import bucket as client
from serving.storage.origin import open_origin
from tests.s3 import seaweed
from tests.serving.bundles import USE_CASE, desire, make_bundle
from tests.trouble import Trouble, listening

LOOKS = 300


def follower_of(root: str, cache: Path) -> Follower:
    """A follower that serves a bundle."""
    settings = Settings(use_cases=(USE_CASE,), storage_root=root, cache=cache)
    origin, log = open_origin(USE_CASE, settings), PredictionLog(settings)
    follower = Follower(USE_CASE, settings, origin, Metrics(), log)
    follower.look()
    assert follower.state.champion is not None, follower.state.problem
    return follower


def measure(name: str, follower: Follower) -> None:
    """Print what a look costs, the threads of the S3 client included."""
    cpu, wall = time.process_time(), time.perf_counter()
    for _ in range(LOOKS):
        follower.look()
    cpu, wall = (time.process_time() - cpu) / LOOKS, (time.perf_counter() - wall) / LOOKS
    print(f"{name:<10} {cpu * 1e3:6.3f} ms of CPU a look, {wall * 1e3:6.3f} ms of time")


def main() -> None:
    """Print the costs for a local folder and for a real S3-compatible store."""
    with tempfile.TemporaryDirectory() as scratch, seaweed(Path(scratch)) as store:
        folder = Path(scratch) / "storage"
        built = make_bundle(folder)
        desire(folder, built)
        measure("a folder", follower_of(str(folder), Path(scratch) / "cache"))

        os.environ |= store.environment()
        root = f"s3://{store.bucket()}/root"
        bucket = Storage(root)
        for place in (built.path, f"{USE_CASE}/desired/dev.json"):
            bucket.publish(folder / place, place)
        measure("a bucket", follower_of(root, Path(scratch) / "cache"))
        trouble = Trouble(store.endpoint)
        with listening(trouble) as url:
            os.environ["AWS_ENDPOINT_URL"] = url
            client.cache_clear()
            follower = follower_of(root, Path(scratch) / "cache")
            trouble.seen.clear()
            for _ in range(LOOKS):
                follower.look()
        print(f"{'':<10} {len(trouble.seen) / LOOKS:.2f} requests a look: {set(trouble.seen)}")


if __name__ == "__main__":
    main()
