"""Actions and looks over HTTP, against a real beanstalkd: what came of it is one sentence, and noted."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from app import clock
from app.beanstalkd.reading import Reading, ServerState, Snapshot
from app.clock import Instant
from app.console.actions import Actions
from app.console.autoscalers import AutoscalerStore
from app.console.events import Event, EventLog
from app.console.history import History, PastTubes
from app.console.jobs import JobRoutes, job_json
from app.console.load_test import LoadTest
from app.console.overview import View
from app.console.threads import Threads
from app.jobs.peek import PeekedJob
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.console_routes import with_errors
from tests.beanstalkd.jobs_there import Tubes

READ_AT = Instant(1_800_000_000, 1000)


@dataclass
class Console:
    """The routes alone."""

    server: Server
    events: list[Event] = field(default_factory=list)
    audits: list[dict[str, Any]] = field(default_factory=list)

    def __post_init__(self) -> None:
        servers = {"main": self.server}
        load_test = LoadTest(clock.now, self.view, AutoscalerStore("no cluster"))
        actions = Actions(servers, load_test, Threads(2, "action"), self.events.extend, clock.now)
        application = with_errors([*actions.routes(), *JobRoutes(servers).routes()], self.audits)
        self.client = httpx.AsyncClient(transport=httpx.ASGITransport(application), base_url="http://console")

    def view(self) -> View:
        state = ServerState(self.server, Reading.of("life", READ_AT, ()))
        return View(Snapshot((state,)), READ_AT, 15, History(), EventLog(), PastTubes())

    async def act(self, name: str, **asked: Any) -> tuple[int, dict[str, Any]]:
        asking = json.dumps({"server": "main", "tube": "a"} | asked)
        answer = await self.client.post(
            f"/actions/{name}", content=asking, headers={"content-type": "application/json"}
        )
        return answer.status_code, answer.json()


@pytest.fixture
async def console(server: Server) -> AsyncIterator[Console]:
    console = Console(server)
    yield console
    await console.client.aclose()


async def test_an_action_returns_one_sentence_and_is_an_event(console: Console, tubes: Tubes) -> None:
    status, answer = await console.act("put", body="héllo", priority=3, ttr=9)
    assert (status, answer) == (
        200,
        {"message": "Job 1 is in tube a.", "count": None, "id": "1", "more": False},
    )
    assert tubes.body(1) == "héllo".encode()
    (event,) = console.events
    assert (event.kind, event.text, event.server, event.tube) == ("put", "job 1 is in tube a", console.server, "a")
    assert console.audits == [{"server": "main", "tube": "a", "result": "job 1 is in tube a"}]


@pytest.mark.parametrize(
    ("name", "state", "asked", "said", "left"),
    [
        pytest.param("put", "", {"bodyHex": "00ff"}, "Job 2 is in tube a.", {"ready": 2}, id="put"),
        pytest.param("kick", "buried", {"count": 5}, "Kicked 1 buried job of tube a.", {"ready": 1}, id="kick"),
        pytest.param(
            "kick",
            "delayed",
            {"count": 5, "expectBuried": 0, "delayed": True},
            "Kicked 1 delayed job of tube a.",
            {"ready": 1},
            id="kick delayed ones",
        ),
        pytest.param(
            "kick-job", "buried", {"id": 1}, "Job 1, which was buried, is ready.", {"ready": 1}, id="kick one"
        ),
        pytest.param("bury", "", {"id": 1}, "Job 1, which was ready, is buried.", {"buried": 1}, id="bury"),
        pytest.param("delete", "", {"id": 1}, "Job 1, which was ready, is deleted.", {}, id="delete"),
        pytest.param(
            "delete-some", "", {"state": "ready", "count": 9}, "Deleted 1 ready job of tube a.", {}, id="delete some"
        ),
        pytest.param(
            "empty", "", {"confirm": "a", "states": ["ready", "buried"]}, "Deleted 1 job of tube a.", {}, id="empty"
        ),
        pytest.param(
            "move", "", {"id": 1, "to": "b"}, "Job 1 of tube a is now job 2 of tube b, ready as before.", {}, id="move"
        ),
        pytest.param(
            "move-some",
            "",
            {"state": "ready", "count": 1, "to": "b", "toServer": "main"},
            "Moved 1 ready job of tube a to tube b.",
            {},
            id="move some",
        ),
        pytest.param(
            "copy", "", {"id": 1, "to": "b"}, "Copied job 1 of tube a: job 2 of tube b.", {"ready": 1}, id="copy"
        ),
        pytest.param(
            "pause",
            "",
            {"seconds": 9},
            "Tube a is paused for 9 s: workers can't reserve its jobs, new jobs are accepted.",
            {"ready": 1},
            id="pause",
        ),
        pytest.param(
            "resume", "", {}, "Tube a is resumed: workers can reserve its jobs again.", {"ready": 1}, id="resume"
        ),
    ],
)
async def test_every_action_does_what_it_reports(
    console: Console, tubes: Tubes, name: str, state: str, asked: dict[str, Any], said: str, left: dict[str, int]
) -> None:
    tubes.put("a", state=state or "ready")
    status, answer = await console.act(name, **asked)
    assert (status, answer["message"]) == (200, said)
    assert tubes.counts("a") == left
    assert {event.tube for event in console.events} == ({"a", "b"} if "to" in asked else {"a"})


@pytest.mark.parametrize(
    ("name", "asked", "status", "said"),
    [
        pytest.param("put", {}, 400, "A job has one body: send body, bodyHex or a file.", id="no body"),
        pytest.param("put", {"body": "", "bodyHex": ""}, 400, "A job has one body", id="two bodies"),
        pytest.param("put", {"bodyHex": "abc"}, 400, "bodyHex must be pairs of hex digits.", id="half a byte"),
        pytest.param("put", {"body": "\ud800"}, 400, "lone surrogate", id="lone surrogate"),
        pytest.param("put", {"body": "", "priority": -1}, 400, "Priority must be an integer", id="bad number"),
        pytest.param("put", {"body": "x" * 70_000}, 503, "the job has 70,000 bytes, the limit is 65,535", id="too big"),
        pytest.param("delete", {"id": 99}, 409, "Job 99 no longer exists", id="gone"),
        pytest.param("delete", {"id": "1 2"}, 400, "Id must be an integer", id="an id with more in it"),
        pytest.param("kick", {"count": 1}, 409, "Tube a has no buried jobs", id="nothing to kick"),
        pytest.param(
            "empty", {"confirm": "A", "states": ["ready"]}, 400, "enter the tube's name: a", id="not confirmed"
        ),
        pytest.param("empty", {"confirm": "a", "states": []}, 400, "States must be a list", id="no state"),
        pytest.param("move", {"id": 1, "to": "a"}, 409, "already in tube a", id="to where it is"),
        pytest.param("move", {"id": 1, "to": "b\r\nx"}, 400, "is not a valid tube name", id="to a hidden command"),
        pytest.param(
            "move",
            {"id": 1, "to": "b", "toServer": "us"},
            400,
            "No beanstalkd named 'us' is configured",
            id="to nowhere",
        ),
        pytest.param("put", {"tube": "-x", "body": ""}, 400, "is not a valid tube name", id="a bad name"),
        pytest.param(
            "put", {"server": "us", "body": ""}, 400, "No beanstalkd named 'us' is configured", id="an unknown server"
        ),
        pytest.param("resume", {"tube": "b"}, 409, "There is no tube b", id="a vanished tube"),
        pytest.param("flush", {}, 404, "There is no action 'flush'.", id="no action"),
        pytest.param("load-stop", {}, 409, "No load test is in progress", id="no load test"),
        pytest.param("load-start", {"jobs": 10**6, "perSecond": 1}, 400, "Jobs must be", id="a boundless load"),
    ],
)
async def test_an_impossible_action_is_one_sentence_and_no_event(
    console: Console, tubes: Tubes, name: str, asked: dict[str, Any], status: int, said: str
) -> None:
    tubes.put("a")
    code, answer = await console.act(name, **asked)
    assert code == status
    assert said in answer["error"]
    assert "\n" not in answer["error"]
    assert tubes.counts("a") == {"ready": 1}
    assert console.events == []


async def test_a_file_becomes_a_job_with_the_same_bytes(console: Console, tubes: Tubes) -> None:
    body = bytes(range(256)) * 250
    answer = await console.client.post(
        "/actions/put",
        data={"server": "main", "tube": "a", "priority": "1", "delay": "0", "ttr": "5"},
        files={"file": ("x.bin", body)},
    )
    assert answer.json()["message"] == "Job 1 is in tube a."
    assert tubes.body(1) == body
    assert tubes.job(1)["pri"] == 1


async def test_a_beanstalkd_that_is_down_is_reported(console: Console, beanstalkd: Beanstalkd) -> None:
    beanstalkd.stop()
    status, answer = await console.act("resume")
    assert (status, answer["error"]) == (503, f"beanstalkd 127.0.0.1:{beanstalkd.port}: connection refused.")


async def test_the_event_loop_runs_while_beanstalkd_hangs_and_the_third_action_is_rejected() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        console = Console(Server("main", *silent.getsockname()))
        hanging = [asyncio.create_task(console.act("resume")) for _ in range(2)]
        connections = [await asyncio.to_thread(silent.accept) for _ in hanging]
        status, _ = await console.act("resume")
        assert status == 503
        assert not any(task.done() for task in hanging)
        for connection, _ in connections:
            connection.close()
        assert {status for status, _ in await asyncio.gather(*hanging)} == {503}


async def test_the_next_jobs_are_shown_with_their_bodies(console: Console, tubes: Tubes) -> None:
    tubes.put("a", b'{"n":18446744073709551615}')
    tubes.put("a", b"\x00", "buried")
    answer = await console.client.get("/api/jobs", params={"server": "main", "name": "a"})
    shown = answer.json()
    assert (answer.status_code, shown["delayed"]) == (200, None)
    ready = shown["ready"]
    assert (ready["id"], ready["state"], ready["tube"], ready["pri"], ready["ttr"]) == ("1", "ready", "a", 77, 50)
    assert (ready["form"], ready["body"]) == ("json", '{\n  "n": 18446744073709551615\n}')
    assert (ready["size"], ready["shown"], ready["truncated"]) == (26, 26, False)
    assert (shown["buried"]["form"], shown["buried"]["raw"]) == ("hex", "00")


def test_no_browser_rounds_a_jobs_id() -> None:
    seen = PeekedJob(2**64 - 1, "ready", "a", *[0] * 11, beginning=b"")
    assert job_json(seen, 0)["id"] == "18446744073709551615"


@pytest.mark.parametrize("name", ["delete", "kick-job", "bury", "move", "copy"])
async def test_another_job_with_the_same_id_is_unchanged(console: Console, tubes: Tubes, name: str) -> None:
    tubes.put("a", state="delayed")
    shown = (await console.client.get("/api/jobs", params={"server": "main", "name": "a"})).json()["delayed"]
    a_minute_older = shown["born"] - 60  # like a job from before a restart of beanstalkd
    status, answer = await console.act(name, id=shown["id"], born=a_minute_older, to="b")
    assert (status, answer["error"].partition(":")[0]) == (409, "Job 1 isn't the job that was shown")
    assert tubes.counts("a") == {"delayed": 1}
    assert (await console.act(name, id=shown["id"], born=shown["born"], to="b"))[0] == 200


async def test_a_job_kicked_in_the_meantime_isnt_deleted_as_a_buried_one(console: Console, tubes: Tubes) -> None:
    job_id = tubes.put("a", state="buried")
    await console.act("kick-job", id=job_id)
    status, answer = await console.act("delete", id=job_id, state="buried")
    assert (status, answer["error"]) == (
        409,
        f"Job {job_id} was buried when it was shown, and is ready now; reload.",
    )
    assert tubes.counts("a") == {"ready": 1}
    assert (await console.act("delete", id=job_id, state="ready"))[0] == 200


async def test_one_job_in_any_state_is_shown_by_its_id(console: Console, tubes: Tubes) -> None:
    job_id = tubes.put("b", b"hi", "reserved")
    answer = await console.client.get("/api/job", params={"server": "main", "id": job_id})
    assert (answer.json()["state"], answer.json()["tube"], answer.json()["body"]) == ("reserved", "b", "hi")


@pytest.mark.parametrize(
    ("path", "status", "said"),
    [
        ("/api/job?server=main&id=9", 404, "There is no job 9"),
        ("/api/job?server=main&id=x", 400, "Id must be an integer"),
        ("/api/job?server=us&id=1", 400, "No beanstalkd named 'us' is configured"),
        ("/api/jobs?server=main&name=-", 400, "is not a valid tube name"),
        ("/api/jobs?server=main", 400, "Name is missing"),
    ],
)
async def test_an_invalid_request_for_jobs_is_one_sentence(console: Console, path: str, status: int, said: str) -> None:
    answer = await console.client.get(path)
    assert answer.status_code == status
    assert said in answer.json()["error"]


async def test_jobs_of_a_beanstalkd_that_is_down_are_unknown(console: Console, beanstalkd: Beanstalkd) -> None:
    beanstalkd.stop()
    answer = await console.client.get("/api/jobs", params={"server": "main", "name": "a"})
    assert (answer.status_code, list(answer.json())) == (503, ["error"])
    assert "connection refused" in answer.json()["error"]


async def test_a_load_test_is_started_and_stopped(console: Console, tubes: Tubes) -> None:
    status, answer = await console.act("load-start", jobs=1000, perSecond=100, bodyBytes=3)
    assert (status, answer["message"]) == (200, "Started to put 1,000 jobs into tube a, 100 per second.")
    async with asyncio.timeout(60):
        while not tubes.counts("a"):
            await asyncio.sleep(0.02)
    status, answer = await console.act("load-stop")
    assert answer["message"] == f"Stopped after {answer['count']} of 1,000 jobs."
    assert tubes.counts("a") == {"ready": answer["count"]}
    assert tubes.body(1) == b"xxx"
