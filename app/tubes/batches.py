"""What a person does to many jobs of one tube: one after the other, as many as the time allows, and counted.

Each job is looked at with peek-ready, peek-delayed or peek-buried, and then deleted or kicked by its id. To reserve all
that is ready isn't faster with one command at a time, and not quiet: it gets nothing from a paused tube, shows as a
worker and as reserved jobs to whoever counts those, and what is in hand comes back when the connection breaks.
Kicking by id never touches a job of the other state, as `kick` does where nothing is buried (any more): it then makes
delayed jobs ready before their time.

All raise TubeNameError, BeanstalkdError, and RefusedError where things aren't as they were shown.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import greenstalk

from app.tubes.acting import Done, Enough, GoneError, Place, RefusedError, State, jobs, tube_counts
from app.tubes.jobs import BeanstalkdError, Client, Job, connect
from app.tubes.names import check_tube_name

PEEK: Mapping[State, Callable[[Client], Job]] = {
    State.READY: greenstalk.Client.peek_ready,
    State.DELAYED: greenstalk.Client.peek_delayed,
    State.BURIED: greenstalk.Client.peek_buried,
}
"""The next job of each state in the used tube."""
EMPTIED = (State.BURIED, State.DELAYED, State.READY)
"""In this order: a job that becomes ready meanwhile is still met."""


class Tally:
    """How many are done; kept where an error can tell it. `verb`: what is done, in the past."""

    def __init__(self, verb: str, enough: Enough) -> None:
        self._verb = verb
        self._enough = enough
        self.done = 0

    def each(self, client: Client, state: State, until: int, act: Callable[[Job], object]) -> bool:
        """Act on the next jobs of that state until so many are done, none is left, or it is enough: whether it was."""
        while self.done < until:
            if self._enough():
                return True
            try:
                job = PEEK[state](client)
            except greenstalk.NotFoundError:
                return False
            with suppress(greenstalk.NotFoundError, GoneError):  # somebody took it between two commands: it is theirs
                act(job)
                self.done += 1
        return False

    def told(self, of: int, kind: str, where: str, *, more: bool) -> Done:
        """`of`: how many were to be done; `kind`: `buried ` or nothing."""
        number = f"{self.done:,}" if self.done == of else f"{self.done:,} of {'about ' if more else ''}{of:,}"
        message = f"{self._verb} {number} {kind}job{'' if of == 1 else 's'} {where}"
        if more:
            message += "; do it again to go on"
        elif self.done < of:
            message += "; the others were taken or deleted meanwhile"
        return Done(message, self.done, more=more)


def kick_some(place: Place, state: State, count: int, enough: Enough) -> Done:
    """Make buried or delayed jobs ready, the next ones first."""
    with counting("kicked", enough) as tally, in_tube(place) as (client, held):
        if not held[state]:
            raise _nothing_to_kick(place.tube, state, held)
        wanted = min(count, held[state])
        more = tally.each(client, state, wanted, lambda job: client.kick_job(job.id))
    return tally.told(wanted, f"{state} ", f"of tube {place.tube}", more=more)


def _nothing_to_kick(tube: str, state: State, held: Mapping[State, int]) -> RefusedError:
    if state is State.BURIED and held[State.DELAYED]:
        return RefusedError(
            f"nothing is buried in tube {tube} (any more); its {jobs(held[State.DELAYED], 'delayed')} would be made"
            " ready before their time: say so if that is what you want"
        )
    return RefusedError(f"no job is {state} in tube {tube} (any more)")


def delete_some(place: Place, state: State, count: int, enough: Enough) -> Done:
    """The next ones of that state; what workers take meanwhile is theirs."""
    with counting("deleted", enough) as tally, in_tube(place) as (client, held):
        wanted = at_most(count, state, held, place.tube)
        more = tally.each(client, state, wanted, client.delete)
    return tally.told(wanted, f"{state} ", f"of tube {place.tube}", more=more)


def empty(place: Place, states: Sequence[State], enough: Enough) -> Done:
    """Delete as many jobs of these states as the tube holds now, so that it ends while others go on putting."""
    present, more = 0, False
    with counting("deleted", enough) as tally, in_tube(place) as (client, held):
        for state in [state for state in EMPTIED if state in states]:
            present += held[state]
            more = more or tally.each(client, state, present, client.delete)
        left = tube_counts(client, place.tube)[State.RESERVED]
    done = tally.told(present, "", f"of tube {place.tube}", more=more)
    return replace(done, message=f"{done.message}; workers keep {jobs(left)} that they have in hand") if left else done


def at_most(count: int, state: State, held: Mapping[State, int], tube: str) -> int:
    """So many as are there. Raises RefusedError where none is."""
    if not held[state]:
        raise RefusedError(f"no job is {state} in tube {tube} (any more)")
    return min(count, held[state])


@contextmanager
def in_tube(place: Place) -> Iterator[tuple[Client, Mapping[State, int]]]:
    """A connection that uses the tube, which must exist (`use` alone would make it), and how many jobs it holds."""
    check_tube_name(place.tube)
    with connect(place.server) as client:
        held = tube_counts(client, place.tube)
        client.use(place.tube)
        yield client, held


@contextmanager
def counting(verb: str, enough: Enough) -> Iterator[Tally]:
    """An error in here tells how many were done before it."""
    tally = Tally(verb, enough)
    try:
        yield tally
    except (BeanstalkdError, RefusedError) as error:
        if not tally.done:
            raise
        raise type(error)(f"{error}; before that it had {verb} {jobs(tally.done)}") from error
