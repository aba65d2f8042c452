"""Tests a server in an open or a closed loop.

The loops answer different questions. A closed loop (a fixed number of connections, each sends when
it was answered) finds how much a server can do. Its percentiles flatter: while the server stalls,
nobody asks, so a stall of a second is a few slow requests and not the thousand that users would
have sent. An open loop sends at a constant rate whatever the server does, and times each request
from the moment it was due. That is what customers see.
"""

import asyncio
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from mlops_assets.load.loops import ClosedRun, OpenRun
from mlops_assets.load.measured import Measured
from mlops_assets.load.payloads import Payloads
from mlops_assets.load.report import Report
from mlops_assets.load.run import Run
from mlops_assets.load.target import Target

_MOST_CONNECTIONS: Final = 512


@dataclass(frozen=True)
class LoadTester:
    """Tests one endpoint of one server.

    Attributes:
        url: Of the server; with `https` its certificate is checked.
        payloads: What is sent, in turn.
        path: Of the endpoint.
        headers: Sent with every request, for example an API key.
        warm_up: Seconds before the first request that counts.
        timeout: Seconds after which a request counts as not answered.
        ca: A file of certificates to trust in place of the system's.
    """

    url: str
    payloads: Payloads
    path: str = "/predict"
    headers: Mapping[str, str] = field(default_factory=dict)
    warm_up: float = 2.0
    timeout: float = 10.0
    ca: Path | None = None

    def open(self, rate: float, seconds: float, connections: int = _MOST_CONNECTIONS) -> Report:
        """Send requests at a constant rate; each is timed from the moment it was due.

        Args:
            rate: Requests a second.
            seconds: How long, after the warm-up.
            connections: The most there may be. A request that finds none free waits, and its
                waiting counts.

        Raises:
            ValueError: An argument is out of its range, or the URL is not one of a server.
            OSError: The server cannot be reached.
        """
        _check(rate=rate, seconds=seconds, connections=connections)
        measured = Measured(self.payloads)
        run = OpenRun(
            self._target(), measured, connections, self.timeout, self.warm_up, seconds, rate
        )
        return self._report("open", run, measured, rate, connections, seconds)

    def closed(
        self, connections: int, seconds: float | None = None, requests: int | None = None
    ) -> Report:
        """Keep a number of connections busy; each sends its next request when it was answered.

        Args:
            connections: How many requests are on their way at any time.
            seconds: How long, after the warm-up; or
            requests: how many. Then there is no warm-up: the first ones are sent as well.

        Raises:
            ValueError: An argument is out of its range, or the URL is not one of a server.
            OSError: The server cannot be reached.
        """
        if (seconds is None) == (requests is None):
            raise ValueError("a closed loop ends after either seconds or requests")
        end = {"seconds": seconds} if requests is None else {"requests": requests}
        _check(connections=connections, **end)
        measured = Measured(self.payloads)
        warm_up = self.warm_up if requests is None else 0.0
        run = ClosedRun(
            self._target(), measured, connections, self.timeout, warm_up,
            math.inf if seconds is None else seconds, math.inf if requests is None else requests,
        )  # fmt: skip
        return self._report("closed", run, measured, None, connections, seconds)

    def _target(self) -> Target:
        return Target.of(self.url, self.path, self.headers, self.payloads.bodies, self.ca)

    def _report(
        self,
        loop: str,
        run: Run,
        measured: Measured,
        rate: float | None,
        connections: int,
        seconds: float | None,
    ) -> Report:
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            took = runner.run(run.go())
        return Report.of(
            measured,
            url=self.url,
            path=self.path,
            loop=loop,
            rate=rate,
            connections=connections,
            rows=self.payloads.rows,
            seconds=took if seconds is None else seconds,
        )


def _check(**arguments: float | None) -> None:
    for name, value in arguments.items():
        if value is None or not 0 < value < math.inf:
            raise ValueError(f"{name}: expected a number above 0, found {value!r}")
