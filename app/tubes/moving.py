"""A job moves to another tube, of the same beanstalkd or another one, and keeps its state, priority and times.

All raise TubeNameError, BeanstalkdError, and RefusedError where things aren't as they were shown; what they say tells
where the job is.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import greenstalk

from app.tubes.acting import Done, Enough, GoneError, Place, RefusedError, State, job_now
from app.tubes.batches import at_most, counting, in_tube
from app.tubes.carrying import Mover, named
from app.tubes.held import Held, bury, put
from app.tubes.jobs import connect
from app.tubes.names import check_tube_name


def move(place: Place, job_id: int, to: Place) -> Done:
    """One job."""
    with _moving(place, to) as mover:
        before, new_id = mover.move(job_id)
    where = named(to, place.server)
    return Done(
        f"job {job_id} of tube {place.tube} is job {new_id} of {where} now, {before.state} as before", id=new_id
    )


def move_some(place: Place, state: State, count: int, to: Place, enough: Enough) -> Done:
    """The next ones of that state; what workers take meanwhile is theirs."""
    with counting("moved", enough) as tally, in_tube(place) as (client, held), _moving(place, to) as mover:
        wanted = at_most(count, state, held, place.tube)
        more = tally.each(client, state, wanted, lambda job: mover.move(job.id))
    return tally.told(wanted, f"{state} ", f"of tube {place.tube} to {named(to, place.server)}", more=more)


def copy(place: Place, job_id: int, to: Place) -> Done:
    """A second job like it: buried where it is buried, delayed where it is delayed, else ready."""
    check_tube_name(place.tube)
    with connect(place.server) as source:
        before = job_now(source, job_id, place.tube)
        try:
            body = source.peek(job_id).body
        except greenstalk.NotFoundError:
            raise GoneError(f"job {job_id} isn't there any more") from None
    held = Held(before, body, before.pri, before.ttr_s)
    with connect(to.server, use=to.tube) as target:
        new_id = put(target, held, held.delay_s if before.state in {State.DELAYED, State.BURIED} else 0, to.server)
        if before.state is State.BURIED:
            bury(target, new_id, held.pri)
    return Done(f"job {job_id} of tube {place.tube} has a copy: job {new_id} of {named(to, place.server)}", id=new_id)


@contextmanager
def _moving(place: Place, to: Place) -> Iterator[Mover]:
    check_tube_name(place.tube)
    check_tube_name(to.tube)
    if place == to:
        raise RefusedError(f"it is in tube {place.tube} already; name another one")
    with ExitStack() as stack:
        yield Mover(place, to, stack)
