"""Measuring a step of a benchmark: in a process of its own, so that its peak memory is its own."""

import multiprocessing
import resource
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def measured(step: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What a step gave, its seconds, and the peak memory of its process in MiB."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawn) as process:
        return process.submit(_measured, step, *arguments).result()


def _measured(step: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    start = time.perf_counter()
    found = step(*arguments)
    seconds = time.perf_counter() - start
    return found, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
