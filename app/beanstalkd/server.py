"""One configured server: the addresses that its name has now, each read on its own.

A headless Service's name has an address for each of its pods. DNS alone, wrong or down, never hides a beanstalkd that
answers; and before an address is connected again, DNS must have listed it again: by then it may be somebody else's.

| DNS lists it | connected | last reading | what happens |
|---|---|---|---|
| yes | yes | | it is read; of two addresses of one beanstalkd one is, and the other is hidden |
| yes | no | | connected anew, again and again; fails what spans it once its reading is too old, doubted, or missing |
| no | yes | | read on |
| no | no | none; or hidden; or it surely holds no job | let go at once |
| no | no | it may hold jobs | lingers: fails like the second, until it is listed or read elsewhere, or in the end |
| only another | no | of a name with one address | the new one takes its place, and its last reading with it |
| too many | | | all are let go, and the name's own failure stands for them |

While no look-up succeeds, the last one holds, and nothing that lingers is given up. lingering.py says what "surely",
"elsewhere" and "in the end" mean.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

import structlog

from app.beanstalkd.addresses import LookUp, addresses_of, any_connects, as_label, by_family, in_order
from app.beanstalkd.demand import Demand
from app.beanstalkd.lingering import Known, Lingering, is_doubted, is_read_elsewhere, is_succeeded, may_hold_jobs
from app.beanstalkd.look_ups import LookUps
from app.beanstalkd.member import Member
from app.beanstalkd.reading import ServerState
from app.beanstalkd.retry import because_unresolved
from app.beanstalkd.session import Presence
from app.clock import Instant
from app.settings import Server, is_ip

MOST_ADDRESSES = 32
"""Of one name: each is a connection that reads all tubes every second. Beside them, so many may be connected still that
DNS lists no more, and so many linger."""

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
        self._moving: Member | None = None  # the only one, while DNS has just another address for it
        self._look_ups = LookUps(self.clock)
        self._group = asyncio.TaskGroup()

    async def run(self) -> None:
        """Look up and read until cancelled; an address that hangs delays no other."""
        async with self._group:
            if is_ip(self.server.host):
                self._settle([self.server.host])
            else:
                await self._keep_looking()

    def stuck(self, now: Instant, overdue_s: float) -> bool:
        """Whether one of our loops doesn't turn any more."""
        turned_at = [member.turned_at for member in self._members]
        if not is_ip(self.server.host):
            turned_at.append(self._look_ups.turned_at)
        return any(turn.age_s(now) > overdue_s for turn in turned_at)

    def states(self) -> tuple[ServerState, ...]:
        """One for each beanstalkd there, in the order of their addresses; one that says why where there is none."""
        seen = [member for member in self._members if not self._is_hidden(member)]
        if not seen:
            return (self._nobody,)
        return tuple(
            replace(
                member.state,
                member=as_label(member.host) if len(seen) > 1 else None,
                doubted=self._is_lost(member) and is_doubted(member.known, self._others(member)),
            )
            for member in seen
        )

    def tell(self) -> None:
        """A member's state has changed: with it others may have become those that were lost."""
        for member in [member for member in self._members if member.lingering]:
            if self._is_hidden(member) or is_succeeded(member.known, self._others(member)):
                self._let_go(member)
        self.attempted = self.attempted or all(state.attempted for state in self.states())
        self.changed()

    async def ended(self, member: Member) -> None:
        """Its connection has ended: if DNS lists it no more, now is the time to judge."""
        if member.host not in self._listed:
            moves = member is self._moving and is_doubted(member.known, self._others(member))
            self._move(member) if moves else self._judge([member])
            self.tell()
            await asyncio.sleep(0)  # where this let the member go, it ends here

    async def why_not(self, member: Member) -> str | None:
        """Why it may not be connected now, or None; asks DNS anew."""
        if is_ip(self.server.host):
            return None
        trouble = await self._look_ups.ask()
        return member.complaint if member.lingering else trouble

    def _is_hidden(self, member: Member) -> bool:
        """Of two addresses of one beanstalkd one counts; and what is left of the other's readings counts no more once
        that one is read, be it after a restart."""
        if member.twin_in is not None:
            return True
        return member.state.failure is not None and is_read_elsewhere(member.known, self._others(member))

    def _is_lost(self, member: Member) -> bool:
        return member.host not in self._listed or member.state.failure is not None

    def _others(self, member: Member) -> Sequence[Known]:
        return [other.known for other in self._members if other is not member]

    @property
    def _busy(self) -> set[str]:
        """The addresses that are connected, or about to be."""
        return {member.host for member in self._members if member.busy}

    async def _keep_looking(self) -> None:
        while True:
            self._look_ups.begin()
            trouble = await self._look_up()
            await self._look_ups.end(trouble, in_vain=not self._members)

    async def _look_up(self) -> str | None:
        """Why there is no address that can be read, or None. While some are connected, a failure changes nothing."""
        try:
            found = await addresses_of(self.server.host, self.server.port, self.asking)
        except OSError as error:
            return self._nobody_there(because_unresolved(error))
        addresses = await self._of_one_family(found)
        there = self._busy.union(addresses)
        if len(addresses) > MOST_ADDRESSES or len(there) > 2 * MOST_ADDRESSES:
            self._settle((), at_once=True)
            return self._nobody_there(
                f"its name has {len(there)} addresses, and at most {MOST_ADDRESSES} are read; give beanscale names with"
                " fewer"
            )
        if not addresses:
            return self._nobody_there("its name has no address")
        self._nobody = ServerState(self.server)
        self._settle(addresses)
        return None

    def _nobody_there(self, reason: str) -> str:
        if not self._members:
            before, self._nobody = self._nobody, self._nobody.failed(reason, self.clock())
            self.tell()
            if before.failure is None or before.failure.message != reason:
                _log.warning(
                    "can't read beanstalkd", server=self.server.name, address=self.server.address, reason=reason
                )
        return reason

    async def _of_one_family(self, addresses: Iterable[str]) -> Sequence[str]:
        """Those of the family that is read; else of the first of which one can be connected; else of that read last."""
        families, busy = by_family(addresses), self._busy
        for family in families:
            if len(families) == 1 or not busy.isdisjoint(family):
                return family
        for family in families:
            if await any_connects(family, self.server.port):
                return family
        last = [family for family in families if not set(self._listed).isdisjoint(family)]
        return next(iter((*last, *families)), ())

    def _settle(self, addresses: Iterable[str], *, at_once: bool = False) -> None:
        """Follow these; judge those that aren't among them and aren't connected, or (`at_once`) let all others go."""
        before, self._listed = self._listed, sorted(set(addresses), key=in_order)
        if self._listed != before:
            self._moving = None
        known = {member.host for member in self._members}
        new = [address for address in self._listed if address not in known]
        gone = [member for member in self._members if member.host not in self._listed and (at_once or not member.busy)]
        if len(self._members) == len(new) == len(self._listed) == 1:
            if gone:
                gone.pop().host = new.pop()  # it has moved, and what is known of it still holds
            else:
                (self._moving,) = self._members
        for member in self._members:
            if member.lingering and member.host in self._listed:
                member.linger(None)
        self._judge(gone, at_once=at_once)
        for address in new:
            self._take_in(address)
        self._members.sort(key=lambda member: in_order(member.host))
        self.tell()

    def _take_in(self, address: str) -> None:
        member = Member(self.server, address, self.demand, self.presence, self.clock, self)
        self._members.append(member)
        self._tasks[member] = self._group.create_task(member.follow())

    def _move(self, member: Member) -> None:
        """It was about to be connected, or didn't answer, when DNS began to list another address in its place."""
        (new,) = (other for other in self._members if other is not member)
        gone = member
        if new.state.reading is None:
            member.host, gone = new.host, new
        self._let_go(gone)

    def _judge(self, members: Iterable[Member], *, at_once: bool = False) -> None:
        """Of these, which are neither listed nor connected, let go what may go, and let the others linger."""
        now = self.clock()
        for member in members:
            last = member.state.reading
            if at_once or last is None or self._is_hidden(member):
                self._let_go(member)
            elif member.lingering:
                if member.lingering.is_over(now):
                    self._give_up(member, member.lingering)
            elif may_hold_jobs(last, now):
                member.linger(Lingering.begin(last, now))
            else:
                self._let_go(member)
        self._bound()

    def _bound(self) -> None:
        """Without the oldest no sum is taken too early: the others go on failing what spans the server."""
        lingering = [(member, member.lingering) for member in self._members if member.lingering]
        lingering.sort(key=lambda each: each[1].since.monotonic_s)
        for member, oldest in lingering[:-MOST_ADDRESSES]:
            self._give_up(member, oldest)

    def _let_go(self, member: Member) -> None:
        self._members.remove(member)
        self._tasks.pop(member).cancel()
        self._moving = None
        _log.info("an address is gone", server=self.server.name, address=member.host)

    def _give_up(self, member: Member, lingering: Lingering) -> None:
        _log.warning(
            "a beanstalkd hasn't come back, and its jobs count no more",
            server=self.server.name,
            address=member.address,
            jobs=lingering.jobs,
        )
        self._let_go(member)
