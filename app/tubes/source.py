"""One configured server: the addresses that its name has now, each read on its own.

A headless Service's name has an address for each of its pods. An address that DNS lists is read; one that it lists no
more is let go once its connection has ended too, so that DNS alone, wrong or down, never hides a beanstalkd that
answers. Before an address is connected again, DNS must have listed it again: by then it may be somebody else's.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace

import structlog

from app.clock import Instant
from app.settings import Server, is_ip
from app.tubes.addresses import LookUp, addresses_of, any_connects, as_label, by_family, in_order
from app.tubes.demand import Demand
from app.tubes.member import Member
from app.tubes.outage import FIRST_RETRY_S, because_unresolved, retry_delays
from app.tubes.presence import Presence
from app.tubes.snapshot import ServerState

RESOLVE_S = 5.0
"""Seconds between two look-ups while nothing asks for one."""
MOST_ADDRESSES = 32
"""Of one name: each is a connection that reads all tubes every second."""

_log = structlog.get_logger()


@dataclass(eq=False)
class Source:
    """Keeps `states` current while `run` runs."""

    server: Server
    demand: Demand
    presence: Presence
    clock: Callable[[], Instant]
    asking: LookUp
    changed: Callable[[], None]
    """Called after each change of the states."""
    attempted: bool = field(default=False, init=False)
    """Whether a first attempt to read each of its first addresses has ended, well or not."""

    def __post_init__(self) -> None:
        self._nobody = ServerState(self.server)
        self._members: list[Member] = []
        self._tasks: dict[Member, asyncio.Task[None]] = {}
        self._listed: Sequence[str] = ()
        self._trouble: str | None = None
        self._asked = asyncio.Event()
        self._answer = asyncio.Event()
        self._turned_at = self.clock()

    async def run(self) -> None:
        """Look up and read until cancelled; an address that hangs delays no other."""
        async with asyncio.TaskGroup() as group:
            if is_ip(self.server.host):
                self._settle([self.server.host], group)
            else:
                await self._keep_looking(group)

    def stuck(self, now: Instant, overdue_s: float) -> bool:
        """Whether one of our loops doesn't turn any more."""
        turned_at = [member.turned_at for member in self._members]
        if not is_ip(self.server.host):
            turned_at.append(self._turned_at)
        return any(turn.age_s(now) > overdue_s for turn in turned_at)

    def states(self) -> tuple[ServerState, ...]:
        """One for each beanstalkd there, in the order of their addresses; one that says why where there is none."""
        seen = [member for member in self._members if not self._is_hidden(member)]
        if not seen:
            return (self._nobody,)
        return tuple(replace(member.state, member=as_label(member.host) if len(seen) > 1 else None) for member in seen)

    def _is_hidden(self, member: Member) -> bool:
        """Of two addresses of one beanstalkd one counts; and what is left of the other's readings counts no more once
        that one is read, be it after a restart."""
        if member.twin_in is not None:
            return True
        state = member.state
        if state.reading is None or state.failure is None:
            return False
        return any(other.reads and state.reading.server_id in other.lives for other in self._members)

    async def _keep_looking(self, group: asyncio.TaskGroup) -> None:
        delays = retry_delays()
        while True:
            self._asked.clear()
            self._turned_at = self.clock()
            self._trouble = await self._look_up(group)
            answer, self._answer = self._answer, asyncio.Event()
            answer.set()
            if self._trouble is None:
                delays = retry_delays()
            await asyncio.sleep(FIRST_RETRY_S)
            with suppress(TimeoutError):
                async with asyncio.timeout(RESOLVE_S if self._members else next(delays)):
                    await self._asked.wait()

    async def _look_up(self, group: asyncio.TaskGroup) -> str | None:
        """Why there is no address that can be read, or None. While some are connected, a failure changes nothing."""
        try:
            found = await addresses_of(self.server.host, self.server.port, self.asking)
        except OSError as error:
            return self._nobody_there(because_unresolved(error))
        addresses = await self._of_one_family(found)
        if len(addresses) > MOST_ADDRESSES:
            self._settle((), group, at_once=True)
            return self._nobody_there(
                f"its name has {len(addresses)} addresses, and at most {MOST_ADDRESSES} are read; give beanscale names"
                " with fewer"
            )
        if not addresses:
            return self._nobody_there("its name has no address")
        self._nobody = ServerState(self.server)
        self._settle(addresses, group)
        return None

    def _nobody_there(self, reason: str) -> str:
        if not self._members:
            before, self._nobody = self._nobody, self._nobody.failed(reason, self.clock())
            self._tell()
            if before.failure is None or before.failure.message != reason:
                _log.warning(
                    "can't read beanstalkd", server=self.server.name, address=self.server.address, reason=reason
                )
        return reason

    async def _of_one_family(self, addresses: Iterable[str]) -> Sequence[str]:
        """Those of the family that is read; else of the first of which one can be connected; else of that read last."""
        families = by_family(addresses)
        busy = {member.host for member in self._members if member.busy}
        for family in families:
            if len(families) == 1 or not busy.isdisjoint(family):
                return family
        for family in families:
            if await any_connects(family, self.server.port):
                return family
        last = [family for family in families if not set(self._listed).isdisjoint(family)]
        return next(iter((*last, *families)), ())

    def _settle(self, addresses: Iterable[str], group: asyncio.TaskGroup, *, at_once: bool = False) -> None:
        """Read these, and let go what isn't among them and isn't connected; or all that isn't, at once."""
        self._listed = sorted(set(addresses), key=in_order)
        known = {member.host for member in self._members}
        new = [address for address in self._listed if address not in known]
        gone = [member for member in self._members if member.host not in self._listed and (at_once or not member.busy)]
        if len(self._members) == len(gone) == len(new) == len(self._listed) == 1:
            gone.pop().host = new.pop()  # it has moved, and what is known of it still holds
        for member in gone:
            self._let_go(member)
        for address in new:
            self._take_in(address, group)
        self._members.sort(key=lambda member: in_order(member.host))
        self._tell()

    def _take_in(self, address: str, group: asyncio.TaskGroup) -> None:
        member = Member(self.server, address, self.demand, self.presence, self.clock, self._tell)
        self._members.append(member)
        self._tasks[member] = group.create_task(member.follow(lambda: self._ended(member, group), self._look_again))

    def _let_go(self, member: Member) -> None:
        self._members.remove(member)
        self._tasks.pop(member).cancel()
        _log.info("an address is gone", server=self.server.name, address=member.host)

    async def _ended(self, member: Member, group: asyncio.TaskGroup) -> None:
        if member.host not in self._listed:
            self._settle(self._listed, group)
            await asyncio.sleep(0)  # where this let the member go, it ends here

    async def _look_again(self) -> str | None:
        """Why the name has no address now, or None; asks anew."""
        if is_ip(self.server.host):
            return None
        self._asked.set()
        await self._answer.wait()
        return self._trouble

    def _tell(self) -> None:
        self.attempted = self.attempted or all(state.attempted for state in self.states())
        self.changed()
