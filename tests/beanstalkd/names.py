"""A name whose addresses change while a test runs."""

import socket
from collections.abc import Sequence

from app.beanstalkd.poller import Poller
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import first, until

DOWN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class Names:
    """What DNS says now."""

    def __init__(self, *addresses: str) -> None:
        self.addresses: Sequence[str] | OSError = addresses
        self.asked = 0

    def __call__(self, _host: str, _port: int) -> Sequence[str]:
        self.asked += 1
        if isinstance(self.addresses, OSError):
            raise self.addresses
        return self.addresses

    async def have_been_asked(self) -> None:
        """Twice: the first look-up may have been under way already."""
        asked = self.asked
        await until(lambda: self.asked >= asked + 2)


def named(servers: Sequence[Beanstalkd], name: str = "eu") -> Server:
    return Server(name, "queues.example", servers[0].port)


def all_read(poller: Poller) -> bool:
    state = first(poller)
    return state.reading is not None and state.failure is None
