"""POST /actions/NAME: actions on tubes and jobs.

The middleware has checked session, token, origin and read-only mode before anything here runs. All parameters are
checked before the action begins. The response has one sentence, which is also an event on the tube's page.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from app.beanstalkd.protocol import check_tube_name
from app.beanstalkd.reading import TubeRef
from app.clock import Instant
from app.console.action_input import MAX_ID, ActionInput, Servers, action_input
from app.console.errors import RequestError, sentence
from app.console.events import Event
from app.console.load_test import LoadTest
from app.console.own_changes import OwnChanges
from app.console.threads import Threads
from app.jobs import actions, move
from app.jobs.actions import MAX_SECONDS, Done, ShownJob, State, stop_after
from app.jobs.peek import PEEKED

BATCH_S = 4.0
"""How long a bulk action runs before it reports how far it got; the page then continues it."""
MAX_JOBS = 1_000_000
NAMES = frozenset(
    [
        "put",
        "kick",
        "kick-job",
        "bury",
        "delete",
        "delete-some",
        "empty",
        "pause",
        "resume",
        "move",
        "move-some",
        "copy",
        "load-start",
        "load-stop",
    ]
)
"""All actions."""
_STATES = tuple(state.value for state in State)
_PEEKED = tuple(state.value for state in PEEKED)


@dataclass(frozen=True, slots=True)
class ActionRequest:
    """One action with all its parameters."""

    kind: str
    """Kind of its event."""
    act: Callable[[], Done]
    """Blocking. Raises TubeNameError, BeanstalkdError, RefusedError."""
    target: TubeRef | None = None
    """Another tube that it changes."""


@dataclass(eq=False)
class Actions:
    """Runs actions in threads."""

    servers: Servers
    load_test: LoadTest
    threads: Threads
    add_events: Callable[[Sequence[Event]], None]
    clock: Callable[[], Instant]
    own_changes: OwnChanges = field(default_factory=OwnChanges)

    def routes(self) -> list[BaseRoute]:
        """Return the routes, below the path prefix."""
        return [Route("/actions/{name}", self._respond, methods=["POST"])]

    async def _respond(self, request: Request) -> Response:
        audit: dict[str, Any] = request.scope["state"]["audit"]
        done = await self._run(request.path_params["name"], request, audit)
        audit["result"] = done.message
        return JSONResponse(
            {
                "message": sentence(done.message),
                "count": done.count,
                "id": None if done.id is None else str(done.id),  # browsers round numbers beyond 2^53
                "more": done.more,
            }
        )

    async def _run(self, name: str, request: Request, audit: dict[str, Any]) -> Done:
        if name not in NAMES:
            raise RequestError(f"there is no action {name[:40]!r}", 404)
        if name == "load-stop":
            return await self.load_test.stop()
        parameters = await action_input(request)
        ref = parameters.tube_ref(self.servers)
        audit |= {"server": ref.server.name, "tube": ref.tube}
        if name == "load-start":
            done, kind, changed = await self.load_test.start(parameters, ref), "put", [ref]
        else:
            action = parse_action(name, parameters, ref, self.servers)
            changed = list(dict.fromkeys([ref, action.target or ref]))
            deletes = action.kind in {"delete", "move"}
            changes_jobs = action.kind not in {"pause", "resume"}
            with self.own_changes.recorded(changed if changes_jobs else (), deletes=deletes):
                done, kind = await self.threads.call(action.act), action.kind
        now_s = self.clock().unix_s
        self.add_events([Event(now_s, kind, done.message, each.server, each.tube) for each in changed])
        return done


def parse_action(  # noqa: C901, PLR0911, PLR0912 - one case per action
    name: str, parameters: ActionInput, ref: TubeRef, servers: Servers
) -> ActionRequest:
    """Return the action `name`, one of NAMES, on the tube `ref`. Raises RequestError, TubeNameError."""
    match name:
        case "put":
            return ActionRequest(
                "put",
                partial(
                    actions.put,
                    ref,
                    parameters.body(),
                    priority=parameters.priority(),
                    delay_s=parameters.delay_s(),
                    ttr_s=parameters.ttr_s(),
                ),
            )
        case "kick":
            # lambda, not partial: the time of `stop_after` begins when the action runs, not when it is parsed
            state, limit = State.DELAYED if parameters.flag("delayed") else State.BURIED, _limit(parameters)
            return ActionRequest("kick", lambda: actions.kick_some(ref, state, limit, stop_after(BATCH_S)))
        case "kick-job":
            return ActionRequest("kick", partial(actions.kick_job, ref, _job(parameters)))
        case "bury":
            return ActionRequest("bury", partial(actions.bury, ref, _job(parameters)))
        case "delete":
            return ActionRequest("delete", partial(actions.delete, ref, _job(parameters)))
        case "delete-some":
            state, limit = _state(parameters), _limit(parameters)
            return ActionRequest("delete", lambda: actions.delete_some(ref, state, limit, stop_after(BATCH_S)))
        case "empty":
            if parameters.text("confirm") != ref.tube:
                raise RequestError(f"to confirm, enter the tube's name: {ref.tube}")
            states = [State(each) for each in parameters.choices("states", _PEEKED)]
            return ActionRequest("delete", lambda: actions.empty(ref, states, stop_after(BATCH_S)))
        case "pause":
            return ActionRequest("pause", partial(actions.pause, ref, parameters.integer("seconds", 1, MAX_SECONDS)))
        case "resume":
            return ActionRequest("resume", partial(actions.resume, ref))
        case "move":
            target = _target(parameters, ref, servers)
            return ActionRequest("move", partial(move.move, ref, _job(parameters), target), target)
        case "move-some":
            target, state, limit = _target(parameters, ref, servers), _state(parameters), _limit(parameters)
            return ActionRequest("move", lambda: move.move_some(ref, state, limit, target, stop_after(BATCH_S)), target)
        case "copy":
            target = _target(parameters, ref, servers)
            return ActionRequest("put", partial(move.copy, ref, _job(parameters), target), target)
    raise AssertionError(name)


def _limit(parameters: ActionInput) -> int:
    return parameters.integer("count", 1, MAX_JOBS)


def _job(parameters: ActionInput) -> ShownJob:
    """Return the job that the user saw."""
    return ShownJob(
        parameters.integer("id", 1, MAX_ID),
        parameters.integer("born", 0, MAX_SECONDS) if "born" in parameters else None,
        State(parameters.choice("state", _STATES)) if "state" in parameters else None,
    )


def _state(parameters: ActionInput) -> State:
    return State(parameters.choice("state", _PEEKED))


def _target(parameters: ActionInput, ref: TubeRef, servers: Servers) -> TubeRef:
    """Return the tube of parameter `to`, on the server of parameter `toServer` or on the same one."""
    server = parameters.server(servers, "toServer", ref.server.name)
    return TubeRef(server, check_tube_name(parameters.text("to")))
