"""A TCP proxy that can be told to misbehave: between a worker and its database, or its Kafka."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_CHUNK = 65536
#: Chunks that may be under way in one direction of a connection before it is read no further.
_MAX_BUFFERED_CHUNKS = 256

#: A UNIX socket, or a port on this machine.
UpstreamAddress = Path | int


class Proxy:
    """Passes bytes on to a server's socket, until it is told otherwise; told from any thread."""

    def __init__(self, upstream: UpstreamAddress) -> None:
        self._upstream = upstream
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_forwarding = asyncio.Event()
        self._is_forwarding.set()
        self._is_refusing = False
        self._delay_seconds = 0.0
        self.port = 0

    def reset_connections(self) -> None:
        """Reset every connection there is."""
        self._call_in_loop(self._abort_connections)

    def refuse_connections(self) -> None:
        """Reset every connection, and every new one at once."""
        self._is_refusing = True
        self.reset_connections()

    def blackhole(self) -> None:
        """Keep every connection, and pass nothing on: half open."""
        self._call_in_loop(self._is_forwarding.clear)

    def add_latency(self, seconds: float) -> None:
        """Have every byte arrive so much later, each way."""
        self._delay_seconds = seconds

    def heal(self) -> None:
        """Pass everything on again."""
        self._is_refusing, self._delay_seconds = False, 0.0
        self._call_in_loop(self._is_forwarding.set)

    def _call_in_loop(self, function: Callable[[], None]) -> None:
        done = threading.Event()

        def call() -> None:
            function()
            done.set()

        self._loop.call_soon_threadsafe(call)
        assert done.wait(10)

    def _abort_connections(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    def run(self, started: threading.Event) -> None:
        """Serve until `end`, in a thread of its own."""
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(self._serve())
        started.set()
        self._loop.run_forever()
        server.close()
        while self._tasks:
            self._abort_connections()
            for task in self._tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*self._tasks, return_exceptions=True))
        self._abort_connections()
        self._loop.run_until_complete(server.wait_closed())
        # A transport that was aborted closes its socket in the next turn.
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()

    def stop(self) -> None:
        """Stop serving."""
        self._loop.call_soon_threadsafe(self._loop.stop)

    async def _serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # The server starts this task: one that connects to the other side while the proxy stops is waited for too.
        if (task := asyncio.current_task()) is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        self._writers.add(writer)
        if self._is_refusing:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        try:
            if isinstance(self._upstream, Path):
                from_server, to_server = await asyncio.open_unix_connection(str(self._upstream))
            else:
                from_server, to_server = await asyncio.open_connection("127.0.0.1", self._upstream)
        except OSError:
            writer.transport.abort()
            self._writers.discard(writer)
            return
        self._writers.add(to_server)
        for one, other in ((reader, to_server), (from_server, writer)):
            self._start_task(self._forward(one, other))

    def _start_task(self, coroutine: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(_MAX_BUFFERED_CHUNKS)
        writing = self._start_task(self._write(under_way, writer))
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await under_way.put((self._loop.time() + self._delay_seconds, data))
                if writing.done():
                    break
        if not writing.done():
            await under_way.put((0.0, b""))
            await writing
        self._writers.discard(writer)
        writer.close()

    async def _write(self, buffer: asyncio.Queue[tuple[float, bytes]], writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while True:
                due, data = await buffer.get()
                if not data:
                    return
                await asyncio.sleep(max(0.0, due - self._loop.time()))
                await self._is_forwarding.wait()
                writer.write(data)
                await writer.drain()


@contextmanager
def running_proxy(upstream: UpstreamAddress) -> Iterator[Proxy]:
    """Run a proxy to a socket until the block ends."""
    proxy, started = Proxy(upstream), threading.Event()
    thread = threading.Thread(target=proxy.run, args=(started,), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield proxy
    finally:
        proxy.stop()
        thread.join(10)
