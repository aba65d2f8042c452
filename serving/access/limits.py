"""How many requests a client may send: a token bucket for each."""

import socket
from collections import OrderedDict
from typing import Final

_MOST_CLIENTS: Final = 10_000


class Limits:
    """A token bucket a client, for one thread.

    Buckets fill by time, so a client that is forgotten starts with a full one: the least recently
    seen are forgotten first, and memory does not grow with the number of clients.
    """

    def __init__(self, rate: float, burst: int, workers: int = 1, most: int = _MOST_CLIENTS):
        """Make an empty set of buckets.

        Args:
            rate: Requests a second for each client, over all workers.
            burst: Requests that may come at once, over all workers.
            workers: Processes that share the requests; each grants its part, at least one at once.
            most: Clients to remember.
        """
        self._rate = rate / workers
        self._burst = max(1.0, burst / workers)
        self._most = most
        # Tokens, and when there were so many.
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, client: str, now: float) -> float:
        """Take a token for a request.

        Args:
            client: Whose.
            now: Seconds of a clock that never goes back.

        Returns:
            0 if there was one; otherwise the seconds until there will be.
        """
        tokens, since = self._buckets.get(client, (self._burst, now))
        tokens = min(self._burst, tokens + (now - since) * self._rate)
        wait = 0.0 if tokens >= 1 else (1 - tokens) / self._rate
        self._buckets[client] = (tokens if wait else tokens - 1, now)
        self._buckets.move_to_end(client)
        if len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait


def client_of(name: str | None, address: str) -> str:
    """Who a request counts for: the owner of its key, or its address.

    A client of IPv6 has a network of 64 bits of its own, and counts as one.

    Args:
        name: Of the API key, which holds no `@`.
        address: An IP address, or "" where there is none.
    """
    if name is not None:
        return name
    if ":" in address:
        try:
            packed = socket.inet_pton(socket.AF_INET6, address.partition("%")[0])
        except OSError:  # what a proxy said need not be an address
            return f"@{address[:64]}"
        return f"@{packed[:8].hex()}"
    return f"@{address[:64]}"
