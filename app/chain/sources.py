"""The first link: every beanstalkd resolves, connects and answers."""

import socket
from collections.abc import Sequence

from app.chain.link import BrokenLink
from app.settings import Server
from app.tubes.jobs import BeanstalkdError, connect

_FIXES: tuple[tuple[type[BaseException], str], ...] = (
    (socket.gaierror, "is there a Service of that name? kubectl -n {namespace} get service"),
    (TimeoutError, "does a NetworkPolicy let us in, and does it run? kubectl -n {namespace} get networkpolicy,pod"),
    (OSError, "is its StatefulSet scaled to 0, or its pod starting? kubectl -n {namespace} get statefulset,pod"),
    (Exception, "is that address a beanstalkd's? see the option --beanstalkd"),
)
"""What failed underneath → what to do; the first that fits."""


def beanstalkds_answer(servers: Sequence[Server], namespace: str) -> str:
    """Ask each for its `stats`. Raises BrokenLink, with advice about `namespace`."""
    return "; ".join(_answers(server, namespace) for server in servers)


def _answers(server: Server, namespace: str) -> str:
    try:
        with connect(server) as client:
            stats = client.stats()
    except BeanstalkdError as error:
        fix = next(fix for kind, fix in _FIXES if isinstance(error.__cause__, kind))
        raise BrokenLink(str(error), fix.format(namespace=namespace), final=True) from error
    if stats.get("draining") == "true":
        raise BrokenLink(
            f"beanstalkd {server.address} is draining and takes no job (somebody sent it SIGUSR1)",
            f"restart it, only that ends it: kubectl -n {namespace} delete pod",
            final=True,
        )
    return f"{server.address} answers, version {stats.get('version', 'unknown')}"
