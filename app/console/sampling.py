"""Takes notice of what is read: every second of what happened, every few of how many jobs there are."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

from app.beanstalkd.poller import Poller
from app.clock import Instant
from app.console.events import EventLog, of_servers
from app.console.history import STEP_S, History
from app.console.overview import SeenTubes

LOOK_EVERY_S = 1.0


@dataclass(eq=False)
class Sampler:
    """Fills history, events and seen while `run` runs."""

    poller: Poller
    max_age_s: float
    clock: Callable[[], Instant]
    history: History = field(default_factory=History, init=False)
    events: EventLog = field(default_factory=EventLog, init=False)
    seen: SeenTubes = field(default_factory=SeenTubes, init=False)

    async def run(self) -> None:
        """Until cancelled."""
        before, sampled_s = self.poller.snapshot, -STEP_S
        while True:
            now, snapshot = self.clock(), self.poller.snapshot
            self.events.notice(of_servers(before, snapshot, now.unix_s))
            self.seen.sample(snapshot)
            if now.monotonic_s - sampled_s >= STEP_S - LOOK_EVERY_S / 2:
                self.history.sample(snapshot, now, self.max_age_s)
                sampled_s = now.monotonic_s
            before = snapshot
            await asyncio.sleep(LOOK_EVERY_S)
