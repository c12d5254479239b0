"""A proxy between beanscale and kube-apiserver that can be held, slowed and cut."""

import asyncio
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import yaml


class InterruptibleProxy:
    """Forwards bytes. Thread-safe."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.port = 0
        self.delay_s = 0.0
        """Added delay of bytes from kube-apiserver."""
        self._target = target
        self._loop = asyncio.new_event_loop()
        self._open = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._cut = False

    def hold(self) -> None:
        """Deliver no bytes, without closing a connection."""
        self._cut = False
        self._loop.call_soon_threadsafe(self._open.clear)

    def cut(self) -> None:
        """Reset open and later connections."""
        self._loop.call_soon_threadsafe(self._reset)

    def mend(self) -> None:
        """Forward again, starting with what was held."""
        self._cut = False
        self._loop.call_soon_threadsafe(self._open.set)

    def run(self, started: threading.Event) -> None:
        """Run forever, in its own thread."""
        asyncio.set_event_loop(self._loop)
        self._open.set()
        server = self._loop.run_until_complete(asyncio.start_server(self._pass, "127.0.0.1", 0))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        self._loop.run_forever()
        server.close()
        self._reset()
        tasks = asyncio.all_tasks(self._loop)
        for task in tasks:
            task.cancel()
        self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
        self._loop.close()

    def stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)

    def _reset(self) -> None:
        self._cut = True
        for writer in self._writers:
            writer.transport.abort()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        with suppress(OSError):
            far_reader, far_writer = await asyncio.open_connection(*self._target)
            self._writers |= {writer, far_writer}
            await asyncio.gather(self._pump(reader, far_writer, slow=False), self._pump(far_reader, writer, slow=True))

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, slow: bool) -> None:
        with suppress(OSError):
            while come := await reader.read(1 << 16):
                if slow and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                await self._open.wait()
                writer.write(come)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)


@contextmanager
def interruptible(folder: Path) -> Iterator[tuple[InterruptibleProxy, Path]]:
    """One before the cluster's kube-apiserver, and a kubeconfig that leads through it."""
    config = yaml.safe_load(Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8"))
    (cluster,) = config["clusters"]
    address = urlsplit(cluster["cluster"]["server"])
    assert address.hostname
    wire, started = InterruptibleProxy((address.hostname, address.port or 443)), threading.Event()
    thread = threading.Thread(target=wire.run, args=(started,))
    thread.start()
    try:
        assert started.wait(60)
        cluster["cluster"] |= {"server": f"https://127.0.0.1:{wire.port}", "tls-server-name": address.hostname}
        path = folder / "through-the-wire.kubeconfig"
        path.write_text(json.dumps(config), encoding="utf-8")
        yield wire, path
    finally:
        wire.stop()
        thread.join()
