"""Moments of beanstalkds, for the tests."""

from dataclasses import replace

from app.beanstalkd.protocol import TubeStats
from app.beanstalkd.reading import Failure, Reading, ServerState, Snapshot
from app.clock import Instant
from app.console.events import EventLog
from app.console.history import STEP_S, History, PastTubes
from app.console.overview import View
from app.settings import Server

MAX_AGE_S = 15.0


def at(second: float) -> Instant:
    return Instant(1_800_000_000 + second, 1000 + second)


def tube(
    name: str = "orders",
    *,
    second: float = 0,
    ready: int = 0,
    reserved: int = 0,
    delayed: int = 0,
    buried: int = 0,
    watching: int = 1,
    pause_left: int = 0,
    pauses: int = 0,
) -> TubeStats:
    jobs = (0, ready, reserved, delayed, buried)
    return TubeStats(name, at(second), *jobs, 0, 0, watching, 0, 0, pauses, pause_left and 60, pause_left)


def server(
    *tubes: TubeStats,
    name: str = "eu",
    second: float = 0,
    life: str = "life",
    failure: str = "",
    before: Reading | None = None,
) -> ServerState:
    """One that was read at that second; with a failure, that was its last good reading."""
    read = [each._replace(answered_at=at(second)) for each in tubes]
    return ServerState(
        Server(name, f"{name}.example", 11300),
        Reading.of(f"{life} of {name}", at(second), read, before),
        Failure(failure, at(second)) if failure else None,
        attempted=True,
    )


def unread(name: str = "eu", failure: str = "connection refused") -> ServerState:
    """One that was never read."""
    return replace(server(name=name, failure=failure), reading=None)


def view(
    *states: ServerState, second: float = 0, history: History | None = None, past: PastTubes | None = None
) -> View:
    return View(
        Snapshot(states),
        at(second),
        MAX_AGE_S,
        History() if history is None else history,
        EventLog(),
        past or PastTubes(),
    )


def sampled(*moments: tuple[ServerState, ...], history: History | None = None) -> History:
    """Moments one step apart, each read when it was sampled."""
    history = History() if history is None else history
    first = history.turn
    for number, states in enumerate(moments, first):
        history.sample(Snapshot(states), at(number * STEP_S), MAX_AGE_S)
    return history
