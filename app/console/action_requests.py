"""What each action is asked with, as something that can be done: read whole before anything is."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from app import clock
from app.beanstalkd.protocol import check_tube_name
from app.beanstalkd.reading import ServerState
from app.console.action_input import BadInputError, Fields
from app.jobs import actions
from app.jobs.actions import MOST_SECONDS, Done, Place, Shown, State, delete_some, empty, kick_some, within
from app.jobs.move import copy, move, move_some

type Act = Callable[[Place], Done]
"""Blocking. Raises what app.tubes' actions raise."""
type Find = Callable[[str], ServerState | None]
"""A beanstalkd by its configured name."""

BATCH_S = 4.0
"""How long an action on many jobs goes on before it tells how far it came."""
MOST_AT_ONCE = 1_000_000
PRIORITY, TTR_S = 65536, 60
"""What most clients give, greenstalk among them."""
MOST_ID = 2**64 - 1
_STATES = tuple(state.value for state in State)
_PEEKED = (State.READY.value, State.DELAYED.value, State.BURIED.value)


@dataclass(frozen=True, slots=True)
class NamedTube:
    """A tube as a page names it."""

    state: ServerState
    tube: str

    @property
    def place(self) -> Place:
        """To connect to."""
        return Place(self.state.server, self.tube)


@dataclass(frozen=True, slots=True)
class Wanted:
    """One action."""

    kind: str
    """Of the event that it is."""
    act: Act
    to: NamedTube | None = None
    """Another tube that it happens to."""


def named_tube(fields: Fields, find: Find) -> NamedTube:
    """Raises BadInputError, TubeNameError."""
    return NamedTube(server_of(fields, find), check_tube_name(fields.text("tube")))


def wanted(name: str, fields: Fields, named: NamedTube, find: Find) -> Wanted:
    """`name`: one of NAMES. Raises BadInputError, TubeNameError."""
    if name in _TO_ANOTHER:
        to = _destination(fields, named, find)
        return Wanted(*_TO_ANOTHER[name](fields, to), to)
    return Wanted(*_HERE[name](fields, named))


def server_of(fields: Fields, find: Find, server: str = "server") -> ServerState:
    """Raises BadInputError."""
    name = fields.text(server)
    state = find(name)
    if state is None:
        raise BadInputError(f"the console knows no beanstalkd named {name[:63]!r}")
    return state


def _destination(fields: Fields, named: NamedTube, find: Find) -> NamedTube:
    state = server_of(fields, find, "toServer") if "toServer" in fields else named.state
    return NamedTube(state, check_tube_name(fields.text("to")))


def _put(fields: Fields, _named: NamedTube) -> tuple[str, Act]:
    return "put", partial(
        actions.put,
        body=body_of(fields),
        priority=fields.whole("priority", 0, MOST_SECONDS, PRIORITY),
        delay_s=fields.whole("delay", 0, MOST_SECONDS, 0),
        ttr_s=fields.whole("ttr", 1, MOST_SECONDS, TTR_S),
    )


def body_of(fields: Fields) -> bytes:
    """From exactly one of body, bodyHex and file."""
    if [fields.file is not None, "body" in fields, "bodyHex" in fields].count(True) != 1:
        raise BadInputError("a job has one body: give body, bodyHex or a file")
    if fields.file is not None:
        return fields.file
    try:
        return fields.text("body").encode() if "body" in fields else bytes.fromhex(fields.text("bodyHex"))
    except UnicodeEncodeError:
        raise BadInputError("the body has half a character (a lone surrogate), which no bytes stand for") from None
    except ValueError as error:
        if isinstance(error, BadInputError):
            raise
        raise BadInputError("the bodyHex must be pairs of hex digits") from None


def _kick(fields: Fields, _named: NamedTube) -> tuple[str, Act]:
    state, count = State.DELAYED if fields.flag("delayed") else State.BURIED, _count(fields)
    return "kick", lambda place: kick_some(place, state, count, within(BATCH_S))


def _delete_some(fields: Fields, _named: NamedTube) -> tuple[str, Act]:
    state, count = _state(fields), _count(fields)
    return "delete", lambda place: delete_some(place, state, count, within(BATCH_S))


def _empty(fields: Fields, named: NamedTube) -> tuple[str, Act]:
    if fields.text("confirm") != named.tube:
        raise BadInputError(f"to confirm, type the tube's name: {named.tube}")
    states = [State(each) for each in fields.choices("states", _PEEKED)]
    return "delete", lambda place: empty(place, states, within(BATCH_S))


def _pause(fields: Fields, _named: NamedTube) -> tuple[str, Act]:
    return "pause", partial(actions.pause, seconds=fields.whole("seconds", 1, MOST_SECONDS))


def _on_one(kind: str, act: Callable[[Place, int], Done]) -> Callable[[Fields, NamedTube], tuple[str, Act]]:
    return lambda fields, _named: (kind, _as_shown(fields, act))


def _as_shown(fields: Fields, act: Callable[[Place, int], Done]) -> Act:
    """`act` on the job that somebody saw, and on no other."""
    job_id, shown = fields.whole("id", 1, MOST_ID), _shown(fields)

    def checked(place: Place) -> Done:
        actions.check_as_shown(place, job_id, shown, clock.now)
        return act(place, job_id)

    return checked


def _shown(fields: Fields) -> Shown:
    return Shown(
        fields.whole("born", 0, MOST_SECONDS) if "born" in fields else None,
        State(fields.choice("state", _STATES)) if "state" in fields else None,
    )


def _move(fields: Fields, to: NamedTube) -> tuple[str, Act]:
    return "move", _as_shown(fields, lambda place, job_id: move(place, job_id, to.place))


def _move_some(fields: Fields, to: NamedTube) -> tuple[str, Act]:
    state, count = _state(fields), _count(fields)
    return "move", lambda place: move_some(place, state, count, to.place, within(BATCH_S))


def _copy(fields: Fields, to: NamedTube) -> tuple[str, Act]:
    return "put", _as_shown(fields, lambda place, job_id: copy(place, job_id, to.place))


def _count(fields: Fields) -> int:
    return fields.whole("count", 1, MOST_AT_ONCE)


def _state(fields: Fields) -> State:
    return State(fields.choice("state", _PEEKED))


_HERE: Mapping[str, Callable[[Fields, NamedTube], tuple[str, Act]]] = {
    "put": _put,
    "kick": _kick,
    "kick-job": _on_one("kick", actions.kick_job),
    "bury": _on_one("bury", actions.bury),
    "delete": _on_one("delete", actions.delete),
    "delete-some": _delete_some,
    "empty": _empty,
    "pause": _pause,
    "resume": lambda _fields, _named: ("resume", actions.resume),
}
_TO_ANOTHER: Mapping[str, Callable[[Fields, NamedTube], tuple[str, Act]]] = {
    "move": _move,
    "move-some": _move_some,
    "copy": _copy,
}
NAMES = _HERE.keys() | _TO_ANOTHER.keys()
"""Of all actions on tubes and jobs."""
