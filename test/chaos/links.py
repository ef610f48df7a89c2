"""TCP proxies that cut and delay what passes: networks as they are on bad days."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading

CHUNK_BYTES = 1 << 16


class Line:
    """One connection that passes through"""

    def __init__(self, near, far):
        self.writers = (near, far)

    def cut(self):
        """Both ends see the connection break, whatever was on its way is lost"""
        for writer in self.writers:
            writer.transport.abort()


class Link:
    """A listener in front of an address. Methods without `_` may be called from any thread"""

    def __init__(self, network, host, port):
        self._network, self._far = network, (host, port)
        self._lines = set()
        self._delay = 0.0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        network.call(self._listen())

    async def _listen(self):
        self._server = await asyncio.start_server(self._connected, sock=self._socket)

    async def _connected(self, near_reader, near):
        try:
            far_reader, far = await asyncio.open_connection(*self._far)
        except OSError:
            near.transport.abort()
            return
        line = Line(near, far)
        self._lines.add(line)
        pumps = [self._pump(near_reader, far), self._pump(far_reader, near)]
        with contextlib.suppress(asyncio.CancelledError):  # the network ends
            await asyncio.gather(*pumps)
        self._lines.discard(line)
        line.cut()

    async def _pump(self, reader, writer):
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                if self._delay:
                    await asyncio.sleep(self._delay)
                writer.write(data)
                await writer.drain()
            writer.write_eof()

    async def _cut(self, choose):
        lines = list(self._lines)
        for line in lines if choose is None else random.sample(lines, min(len(lines), choose)):
            line.cut()

    def cut(self, count=None):
        """Break `count` of its connections, or all"""
        self._network.call(self._cut(count))

    def delay(self, seconds):
        """From now on each piece of data waits so long"""
        self._delay = seconds

    async def _close(self):
        self._server.close()
        await self._cut(None)

    def close(self):
        self._network.call(self._close())


class Network:
    """The thread in which all links pass on their bytes"""

    def __init__(self):
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._thread.start()

    def call(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)

    def link(self, host, port):
        return Link(self, host, port)

    async def _end(self):
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self):
        self.call(self._end())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
