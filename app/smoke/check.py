"""A chain is walked link by link: what holds says what it found, what breaks says why and what to do."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from app.kube.checks import CheckFailedError

LOOK_EVERY_S = 0.25


class State(Enum):
    """How a link came out, by the mark that people see."""

    HOLDS = "✓"
    BROKEN = "✗"
    NOT_REACHED = "-"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What is known of one link after the walk."""

    name: str
    state: State
    said: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """One link: `look` returns what it found, or raises CheckFailedError."""

    name: str
    look: Callable[[], str]
    owed: Callable[[], bool] = lambda: False
    """Whether to look although the chain broke before."""


def walk(links: Iterable[Link], announce: Callable[[str], None]) -> Iterator[Outcome]:
    """Look at one link after the other; behind the first broken one only at those that are owed.

    `announce` gets the name of each link before it is looked at.
    """
    broken = False
    for link in links:
        if broken and not link.owed():
            yield Outcome(link.name, State.NOT_REACHED, "not reached")
            continue
        announce(link.name)
        outcome = _look(link)
        broken = broken or outcome.state is State.BROKEN
        yield outcome


def _look(link: Link) -> Outcome:
    try:
        return Outcome(link.name, State.HOLDS, link.look())
    except CheckFailedError as broken:
        return Outcome(link.name, State.BROKEN, str(broken), broken.hint)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long something that was just set in motion may take."""

    timeout_s: float
    stopped: Callable[[], bool]
    """Whether somebody wants us to leave."""

    def wait(self, look: Callable[[], str]) -> str:
        """Retry until it passes. Raise the last CheckFailedError after `timeout_s` or if it is final."""
        deadline_s = time.monotonic() + self.timeout_s
        if self.stopped():
            raise CheckFailedError("stopped before it was looked at", "run it again", final=True)
        while True:
            try:
                return look()
            except CheckFailedError as broken:
                if broken.final:
                    raise
                if self.stopped():
                    raise CheckFailedError(f"{broken} (stopped while waiting)", broken.hint) from broken
                if time.monotonic() >= deadline_s:
                    raise CheckFailedError(f"{broken} (waited {self.timeout_s:g} s)", broken.hint) from broken
            time.sleep(LOOK_EVERY_S)
