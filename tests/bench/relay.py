"""A socket that is so and so far away: relay.py SOCKET TARGET MILLISECONDS passes on what comes, late, both ways."""

from __future__ import annotations

import asyncio
import sys
from functools import partial


async def carry(source: asyncio.StreamReader, target: asyncio.StreamWriter, seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await source.read(1 << 16):
        # What comes first is due first, so the order stays.
        loop.call_later(seconds, target.write, data)
    loop.call_later(seconds, target.close)


async def take(
    target: str, seconds: float, near_reader: asyncio.StreamReader, near_writer: asyncio.StreamWriter
) -> None:
    far_reader, far_writer = await asyncio.open_unix_connection(target)
    await asyncio.gather(carry(near_reader, far_writer, seconds), carry(far_reader, near_writer, seconds))


async def main() -> None:
    path, target, milliseconds = sys.argv[1:]
    server = await asyncio.start_unix_server(partial(take, target, float(milliseconds) / 1000), path)
    print("ready", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
