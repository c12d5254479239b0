"""A name with several addresses, in tests: what DNS says of it changes while they run."""

import socket
from collections.abc import Sequence

from app.beanstalkd import lingering
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


def members(poller: Poller) -> list[str | None]:
    return [state.member for state in poller.snapshot.servers]


def all_read(poller: Poller, number: int) -> bool:
    states = poller.snapshot.servers
    return len(states) == number and all(state.reading and not state.failure for state in states)


def is_idle(poller: Poller, number: int = 0) -> bool:
    """Whether the server of this number has had no job for so long that none is thought to be left in it."""
    reading = first(poller, number).reading
    if reading is None or reading.jobs is None or reading.idle_since is None:
        return False
    return reading.idle_since.age_s(reading.jobs.answered_at) >= lingering.IDLE_S
