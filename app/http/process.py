"""What the processes of both long-lived servers have in common: how they end, and what a chore that ends means."""

import asyncio
import os
import sys
from collections.abc import Awaitable
from typing import NoReturn

import structlog

_log = structlog.get_logger()


async def end_with(serving: Awaitable[int]) -> NoReturn:
    """End the process with the status that `serving` comes to, or with 1 and a traceback where it raises."""
    try:
        status = await serving
    except Exception:  # noqa: BLE001 - the loop's edge, see below
        _log.exception("ended unexpectedly")
        status = 1
    sys.stderr.flush()
    # Threads may still wait for DNS or for kube-apiserver, up to a minute, and Python would wait for them.
    os._exit(status)


def tell_of_defect(chore: asyncio.Task[None]) -> None:
    """A chore never ends by itself. If one does, that's a defect: Kubernetes starts us anew, and the log says why."""
    _log.error(
        "ended unexpectedly",
        chore=repr(chore.get_coro()),
        exc_info=None if chore.cancelled() else chore.exception(),
    )
