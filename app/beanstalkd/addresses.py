"""Where a configured name leads: one address or several, as DNS says, and how an address is written in a label."""

import asyncio
import re
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from ipaddress import ip_address

from app.beanstalkd.connection import connect

LOOK_UP_TIMEOUT_S = 3.0

type LookUp = Callable[[str, int], Sequence[str]]
"""Host and port → its IP addresses, the preferred first. May take its time; raises OSError."""

# Threads of their own: while DNS is down each look-up takes most of a minute, and whoever asks kube-apiserver or awaits
# a long answer uses the loop's few.
_LOOK_UPS = ThreadPoolExecutor(32, thread_name_prefix="look-up")
_NO_LABEL = re.compile(r"[^A-Za-z0-9._-]")


def look_up(host: str, port: int) -> Sequence[str]:
    """Ask the system, DNS and all. Raises OSError."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


async def addresses_of(host: str, port: int, asking: LookUp) -> Sequence[str]:
    """What `asking` finds, in a thread. Raises TimeoutError and what it raises."""
    async with asyncio.timeout(LOOK_UP_TIMEOUT_S):
        return await asyncio.get_running_loop().run_in_executor(_LOOK_UPS, asking, host, port)


def by_family(addresses: Iterable[str]) -> list[list[str]]:
    """IPv6 and IPv4 apart, the family of the first address first: they are two ways to the same servers."""
    families: dict[int, list[str]] = {}
    for address in addresses:
        families.setdefault(ip_address(address).version, []).append(address)
    return list(families.values())


def in_order(address: str) -> tuple[int, bytes]:
    """What addresses are sorted by."""
    parsed = ip_address(address)
    return parsed.version, parsed.packed


def as_label(address: str) -> str:
    """As a label's value, which has no ':' and starts and ends with a letter or digit: `fd00--3`, `0--1`."""
    label = _NO_LABEL.sub("-", address)
    return ("" if label[0].isalnum() else "0") + label + ("" if label[-1].isalnum() else "0")


async def any_connects(addresses: Iterable[str], port: int) -> bool:
    """Whether one of them can be connected; all are tried at once."""
    tries = [asyncio.create_task(_connects(address, port)) for address in addresses]
    try:
        for tried in asyncio.as_completed(tries):
            if await tried:
                return True
    finally:
        for task in tries:
            task.cancel()
    return False


async def _connects(address: str, port: int) -> bool:
    with suppress(OSError):
        async with connect(address, port):
            return True
    return False
