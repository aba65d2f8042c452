"""A small server that does what each request asks of it: known delays, refusals, broken answers.

A process of its own, so that its stalls do not stall the client that measures them. A row such as
``{"wait": 0.05, "status": 503}`` is answered after 50 ms with a 503.
"""

import asyncio
import itertools
import json
import sys
import time
from typing import Any

DIGEST = "d" * 64
CONNECTIONS = itertools.count(1)


async def answer(
    row: dict[str, Any], headers: str, out: asyncio.StreamWriter, connection: int
) -> bool:
    """Do what a row asks for; return whether the connection stays open."""
    if "block" in row:
        time.sleep(row["block"])  # the whole server, as a long computation would
    await asyncio.sleep(row.get("wait", 0))
    if row.get("drop"):
        return False
    if row.get("garbage"):
        out.write(b"not HTTP at all\r\n\r\n")
        return False
    status = row.get("status", 200)
    if "key" in row and f"x-api-key: {row['key']}" not in headers:
        status = 401
    body = {"version": "1", "digest": DIGEST, "probability": row.get("probability", 0.5)}
    if row.get("tell_connection"):
        body["version"] = connection
    if status != 200:
        body = {"detail": row.get("detail", "because")}
    text = json.dumps(row.get("body", body)).encode()
    close = "connection: close\r\n" if row.get("close") else ""
    head = f"HTTP/1.1 {status} X\r\ncontent-length: {len(text)}\r\n{close}\r\n"
    # In two parts, as servers do.
    out.write(head.encode())
    await out.drain()
    out.write(text)
    return not close


async def serve(reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
    """Answer the requests of one connection, one after the other."""
    connection = next(CONNECTIONS)
    try:
        while True:
            headers = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            length = int(headers.partition("content-length: ")[2].partition("\r\n")[0] or 0)
            row = json.loads(await reader.readexactly(length) or "{}")
            if not await answer(row, headers, out, connection):
                break
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client went away
    out.close()


async def main() -> None:
    """Print the port, and serve until standard input ends."""
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
