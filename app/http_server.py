"""What both HTTP servers of beanscale want of uvicorn: a port that is ours or a clear error, and signals left to us."""

import ipaddress
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from app.settings import SettingError


def listen(bind: str, port: int) -> socket.socket:
    """A listening socket on an IP address of this machine, or 0.0.0.0 or :: for all. Raises SettingError."""
    try:
        ipaddress.ip_address(bind)
    except ValueError as error:
        raise SettingError(
            f"can't listen on {bind!r}: --bind takes an IP address, and 0.0.0.0 or :: for all"
        ) from error
    family = socket.AF_INET6 if ":" in bind else socket.AF_INET
    try:
        return socket.create_server((bind, port), family=family, dualstack_ipv6=bind == "::", backlog=1024)
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno else str(error)
        raise SettingError(f"can't listen on {bind} port {port}: {reason}; choose another --bind or --port") from error


class HttpServer(uvicorn.Server):
    """uvicorn that ends when `should_exit` is set, and not by itself at a signal."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Don't."""
        yield
