"""A TCP proxy that interferes at a chosen command: before beanstalkd gets it, or before its reply is back."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from app.settings import Server


@dataclass
class Cut:
    """Where the first connection ends."""

    command: int
    """Counted from 1."""
    heard: bool
    """Whether beanstalkd gets that command."""
    for_good: bool = False
    """Refuse all later connections too."""
    meanwhile: Callable[[], object] = lambda: None
    """Called just before."""
    only_delays: bool = False
    """Whether the connection goes on: `meanwhile` is called after beanstalkd's reply, before the client gets it."""
    commands: list[bytes] = field(default_factory=list)
    """What went through the first connection, each command's first line."""


@contextmanager
def cutting(behind: Server, cut: Cut) -> Iterator[Server]:
    """The server as it is reached through the proxy."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threading.Thread(target=_accept, args=(listener, behind, cut), daemon=True).start()
        yield Server(behind.name, *listener.getsockname())
        listener.shutdown(socket.SHUT_RDWR)


def _accept(listener: socket.socket, behind: Server, cut: Cut) -> None:
    limits: Iterator[Cut | None] = iter([cut])
    with suppress(OSError):
        while True:
            client, _ = listener.accept()
            limit = next(limits, None)
            if limit is None and cut.for_good and len(cut.commands) >= cut.command:
                client.close()
                continue
            threading.Thread(target=_serve, args=(client, behind, limit), daemon=True).start()


def _serve(client: socket.socket, behind: Server, cut: Cut | None) -> None:
    with suppress(OSError), client, socket.create_connection((behind.host, behind.port)) as server:
        while command := client.recv(1 << 20):
            if cut is not None:
                cut.commands.append(command.partition(b"\r\n")[0])
                if len(cut.commands) == cut.command and not cut.only_delays:
                    cut.meanwhile()
                    if cut.heard:
                        server.sendall(command)
                        server.recv(1 << 20)
                    return
            server.sendall(command)
            reply = server.recv(1 << 20)
            if not reply:
                return
            if cut is not None and cut.only_delays and len(cut.commands) == cut.command:
                cut.meanwhile()
            client.sendall(reply)
