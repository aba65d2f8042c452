"""A process that logs as fast as it can, for tests that kill it.

After every record it appends a line to the file of its name, with its number and the time: what
was said there, the log has been given. SIGTERM stops the log in the regular way.

    python -m tests.serving.log_writer ROOT SPOOL NAME
"""

import signal
import sys
import threading
import time
from pathlib import Path

import numpy as np

from serving.prediction_log.log import PredictionLog
from serving.settings import Settings
from tests.benchmarks.prediction_log import FEATURES, INPUTS, stream

BATCH = 5


def main() -> None:
    root, spool, name = sys.argv[1:]
    settings = Settings(
        use_cases=("heart",), storage_root=root, log_spool=spool, log_roll_seconds=0.3
    )
    log, who, stopped = PredictionLog(settings), stream(), threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    features = np.ones((BATCH, FEATURES), np.float32)
    probabilities = np.linspace(0, 1, BATCH)
    log.start()
    number = 0
    with Path(name).open("w") as said:
        while not stopped.is_set():
            ids = [f"{Path(name).name}-{number + i}" for i in range(BATCH)]
            log.append(who, time.time(), ids, ids, [INPUTS] * BATCH, features, probabilities)
            number += BATCH
            said.write(f"{number} {time.time()}\n")
            said.flush()
            time.sleep(0.0005)
    assert log.stop(20)
    assert not log.dropped


if __name__ == "__main__":
    main()
