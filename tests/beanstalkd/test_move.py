"""A job moves from tube to tube of a real beanstalkd, and whatever breaks in between, it isn't lost."""

import re
from contextlib import ExitStack

import pytest

from app.beanstalkd.protocol import TubeNameError
from app.beanstalkd.reading import TubeRef
from app.jobs.actions import RefusedError, ShownJob, State, stop_after
from app.jobs.client import BeanstalkdError
from app.jobs.move import copy, move, move_some
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd, running_beanstalkd
from tests.beanstalkd.cutting import Cut, cutting
from tests.beanstalkd.jobs_there import Tubes

BODY = b"\x00\xffjob\r\ndelete 1\r\n"
STATES = ["ready", "delayed", "buried"]


@pytest.mark.parametrize("state", STATES)
def test_a_moved_job_is_the_same_in_the_other_tube(server: Server, tubes: Tubes, state: str) -> None:
    job_id = tubes.put("a", BODY, state, pri=7, ttr=33)
    done = move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(server, "b"))
    assert done.id is not None
    assert done.message == f"job {job_id} of tube a is now job {done.id} of tube b, {state} as before"
    moved = tubes.job(done.id)
    assert (moved["tube"], moved["state"], moved["pri"], moved["ttr"]) == ("b", state, 7, 33)
    assert tubes.body(done.id) == BODY
    assert (tubes.counts("a"), tubes.counts("b")) == ({}, {state: 1})


def test_a_delayed_job_keeps_the_rest_of_its_delay(server: Server, tubes: Tubes) -> None:
    done = move(TubeRef(server, "a"), ShownJob(tubes.put("a", state="delayed")), TubeRef(server, "b"))
    assert done.id is not None
    assert 60 <= tubes.job(done.id)["time-left"] <= 100


def test_jobs_of_a_paused_tube_can_be_moved(server: Server, tubes: Tubes) -> None:
    job_id = tubes.put("a")
    tubes.pause("a")
    move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(server, "b"))
    assert tubes.counts("b") == {"ready": 1}


def test_a_job_moves_to_another_beanstalkd(server: Server, tubes: Tubes) -> None:
    for other in running_beanstalkd():
        there = Server("eu", other.host, other.port)
        done = move(TubeRef(server, "a"), ShownJob(tubes.put("a", BODY)), TubeRef(there, "a"))
        assert done.message.endswith("is now job 1 of tube a of eu, ready as before")
        looking = Tubes(there)
        assert (tubes.counts("a"), looking.counts("a")) == ({}, {"ready": 1})
        looking.close()


def test_a_reserved_job_stays_and_is_reported(server: Server, tubes: Tubes) -> None:
    job_id = tubes.put("a", state="reserved")
    with pytest.raises(RefusedError, match=f"job {job_id} is reserved"):
        move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(server, "b"))
    assert tubes.counts("a") == {"reserved": 1}
    assert "b" not in tubes.names()


@pytest.mark.parametrize(
    ("tube", "to", "said"),
    [
        pytest.param("a", "a", "already in tube a", id="to where it is"),
        pytest.param("c", "b", "is in tube a, not c", id="from where it isn't"),
    ],
)
def test_an_invalid_move_changes_nothing(server: Server, tubes: Tubes, tube: str, to: str, said: str) -> None:
    job_id = tubes.put("a")
    with pytest.raises(RefusedError, match=said):
        move(TubeRef(server, tube), ShownJob(job_id), TubeRef(server, to))
    assert tubes.counts("a") == {"ready": 1}


def test_a_job_that_is_gone_is_reported(server: Server) -> None:
    with pytest.raises(RefusedError, match="job 99 no longer exists"):
        move(TubeRef(server, "a"), ShownJob(99), TubeRef(server, "b"))


@pytest.mark.parametrize("to", ["b\r\ndelete 1", "-b", ""])
def test_a_name_that_contains_a_command_never_reaches_beanstalkd(server: Server, tubes: Tubes, to: str) -> None:
    job_id = tubes.put("a")
    with pytest.raises(TubeNameError):
        move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(server, to))
    assert tubes.counts("a") == {"ready": 1}


@pytest.mark.parametrize("state", STATES)
def test_a_draining_target_leaves_the_job_unchanged(
    server: Server, tubes: Tubes, beanstalkd: Beanstalkd, state: str
) -> None:
    job_id = tubes.put("a", state=state, pri=7)
    beanstalkd.drain()
    with pytest.raises(BeanstalkdError, match=rf"draining.*; job {job_id} stays in tube a, {state} as before"):
        move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(server, "b"))
    assert tubes.counts("a") == {state: 1}
    assert tubes.job(job_id)["pri"] == 7


def test_a_job_that_is_too_big_for_the_target_stays(tubes: Tubes, server: Server) -> None:
    for other in running_beanstalkd("-z", "10"):
        job_id = tubes.put("a", b"x" * 11)
        with pytest.raises(BeanstalkdError, match=rf"exceeds its size limit.*; job {job_id} stays in tube a, ready"):
            move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(Server("small", other.host, other.port), "b"))
        assert tubes.counts("a") == {"ready": 1}


SOURCE = {1: b"stats-job", 2: b"reserve-job", 3: b"stats-job", 4: b"delete"}
TARGET = {
    "ready": {1: b"use", 2: b"put", 3: b"kick-job"},
    "delayed": {1: b"use", 2: b"put"},
    "buried": {1: b"use", 2: b"put", 3: b"reserve-job", 4: b"bury"},
}
CUTS = [
    pytest.param(state, of, number, heard, id=f"{state}, {of}: {command.decode()} {'heard' if heard else 'not heard'}")
    for state in STATES
    for of, commands in (("source", SOURCE), ("target", TARGET[state]))
    for number, command in commands.items()
    for heard in (False, True)
]


@pytest.mark.parametrize(("state", "of", "number", "heard"), CUTS)
def test_a_cut_at_any_command_leaves_exactly_one_unchanged_job(
    server: Server, tubes: Tubes, state: str, of: str, number: int, heard: bool
) -> None:
    error, cut = move_with_a_cut(server, tubes, of, Cut(number, heard), state)
    assert cut.commands[-1].split()[0] == (SOURCE if of == "source" else TARGET[state])[number]
    at_home, away = tubes.settled("a"), tubes.settled("b")
    assert [at_home, away] in ([{}, {state: 1}], [{state: 1}, {}])
    assert bool(error) == bool(at_home), "it says whether the job was moved"
    kept = tubes.job(tubes.next_id("a" if at_home else "b", state))
    assert (kept["pri"], kept["ttr"]) == (77, 50)
    assert tubes.body(kept["id"]) == BODY


@pytest.mark.parametrize(("state", "of", "number", "heard"), CUTS)
def test_a_permanent_cut_leaves_at_least_one_job_and_reports_what_is_known(
    server: Server, tubes: Tubes, state: str, of: str, number: int, heard: bool
) -> None:
    error, _ = move_with_a_cut(server, tubes, of, Cut(number, heard, for_good=True), state)
    at_home, away = tubes.settled("a"), tubes.settled("b")
    copies = sum(at_home.values()) + sum(away.values())
    assert copies in {1, 2}
    assert error or copies == 1
    if copies == 2:
        assert "check both" in error or "may hold a copy all the same" in error
    if at_home and state not in at_home:
        assert "may be ready now" in error or "check both" in error
    if away and state not in away:
        assert "in 31 s" in error


def move_with_a_cut(server: Server, tubes: Tubes, of: str, cut: Cut, state: str) -> tuple[str, Cut]:
    """Move a job through proxies of which one is cut: the error, or nothing."""
    job_id = tubes.put("a", BODY, state)
    with ExitStack() as stack:
        never = Cut(99, heard=True)
        source = stack.enter_context(cutting(server, cut if of == "source" else never))
        target = stack.enter_context(cutting(server, cut if of == "target" else never))
        try:
            move(TubeRef(source, "a"), ShownJob(job_id), TubeRef(target, "b"))
        except (BeanstalkdError, RefusedError) as error:
            return str(error), cut
    return "", cut


def test_a_job_reserved_when_the_deleting_connection_breaks_stays_with_its_worker(server: Server, tubes: Tubes) -> None:
    """beanstalkd gives the job to the waiting worker at once, and the unreserved copy is deleted."""
    job_id = tubes.put("a")
    workers = []
    cut = Cut(4, heard=False, meanwhile=lambda: workers.append(tubes.waiting_worker("a")))
    with cutting(server, cut) as source, pytest.raises(RefusedError, match="a worker has reserved it meanwhile"):
        move(TubeRef(source, "a"), ShownJob(job_id), TubeRef(server, "b"))
    assert workers[0].result() == job_id
    assert (tubes.counts("a"), tubes.counts("b")) == ({"reserved": 1}, {})


def test_a_copy_behind_an_earlier_delayed_job_cant_be_found_and_is_reported(server: Server, tubes: Tubes) -> None:
    job_id = tubes.put("a")
    tubes.put("b", delay=25)
    with (
        cutting(server, Cut(2, heard=True)) as target,
        pytest.raises(BeanstalkdError, match=r"job 1 stays in tube a, ready as before; tube b.* may hold a copy"),
    ):
        move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(target, "b"))
    assert tubes.counts("a") == {"ready": 1}


def test_a_job_of_another_client_is_never_mistaken_for_the_lost_copy(server: Server, tubes: Tubes) -> None:
    job_id = tubes.put("a", BODY)
    other = tubes.put("b", BODY, delay=31, pri=8)
    with cutting(server, Cut(2, heard=False)) as target, pytest.raises(BeanstalkdError):
        move(TubeRef(server, "a"), ShownJob(job_id), TubeRef(target, "b"))
    assert tubes.job(other) is not None


def test_many_jobs_are_moved_in_order(server: Server, tubes: Tubes) -> None:
    for number in range(5):
        tubes.put("a", b"%d" % number)
    done = move_some(TubeRef(server, "a"), State.READY, 3, TubeRef(server, "b"), stop_after(60))
    assert (done.message, done.count, done.more) == ("moved 3 ready jobs of tube a to tube b", 3, False)
    assert (tubes.counts("a"), tubes.counts("b")) == ({"ready": 2}, {"ready": 3})
    assert tubes.body(tubes.next_id("b", "ready")) == b"0"


@pytest.mark.parametrize("state", STATES)
def test_a_limit_above_the_number_of_jobs_moves_all(server: Server, tubes: Tubes, state: str) -> None:
    for _ in range(3):
        tubes.put("a", state=state)
    tubes.put("a", state="reserved")
    assert move_some(TubeRef(server, "a"), State(state), 99, TubeRef(server, "b"), stop_after(60)).count == 3
    assert (tubes.counts("a"), tubes.counts("b")) == ({"reserved": 1}, {state: 3})


def test_an_interrupted_batch_reports_how_many_it_moved(server: Server, tubes: Tubes) -> None:
    for number in range(3):
        tubes.put("a", b"x" * number)
    for other in running_beanstalkd("-z", "1"):
        small = Server("small", other.host, other.port)
        with pytest.raises(BeanstalkdError, match="stays in tube a, ready as before; before that it had moved 2 jobs"):
            move_some(TubeRef(server, "a"), State.READY, 3, TubeRef(small, "b"), stop_after(60))
    assert tubes.counts("a") == {"ready": 1}


def test_a_batch_ends_in_time_and_reports_how_to_continue(server: Server, tubes: Tubes) -> None:
    tubes.put("a")
    done = move_some(TubeRef(server, "a"), State.READY, 1, TubeRef(server, "b"), stop_after(0))
    assert done.more
    assert done.message == "moved 0 of about 1 ready job of tube a to tube b; repeat to continue"


@pytest.mark.parametrize(
    ("state", "copied"), [("ready", "ready"), ("delayed", "delayed"), ("buried", "buried"), ("reserved", "ready")]
)
def test_a_copy_leaves_the_job_unchanged(server: Server, tubes: Tubes, state: str, copied: str) -> None:
    job_id = tubes.put("a", BODY, state, pri=7, ttr=33)
    done = copy(TubeRef(server, "a"), ShownJob(job_id), TubeRef(server, "b"))
    assert done.id is not None
    second = tubes.job(done.id)
    assert (second["state"], second["pri"], second["ttr"], second["tube"]) == (copied, 7, 33, "b")
    assert tubes.body(done.id) == BODY
    assert tubes.counts("a") == {state: 1}


@pytest.mark.parametrize(
    ("state", "ending"),
    [("ready", "tube b"), ("delayed", r"tube b, ready in \d+ s"), ("buried", "tube b, buried as well")],
)
def test_a_copy_reports_its_state_if_workers_cant_take_it(
    server: Server, tubes: Tubes, state: str, ending: str
) -> None:
    job_id = tubes.put("a", BODY, state)
    done = copy(TubeRef(server, "a"), ShownJob(job_id), TubeRef(server, "b"))
    assert re.fullmatch(rf"copied job {job_id} of tube a: job {done.id} of {ending}", done.message)


@pytest.mark.parametrize("command", [3, 4], ids=["reserve-job", "bury"])
def test_a_copy_that_cant_be_buried_reports_when_it_becomes_ready(server: Server, tubes: Tubes, command: int) -> None:
    job_id = tubes.put("a", BODY, "buried")
    with (
        cutting(server, Cut(command, heard=False)) as target,
        pytest.raises(BeanstalkdError, match=r"the copy is job \d+ of tube b.*, and becomes ready in 31 s unless"),
    ):
        copy(TubeRef(server, "a"), ShownJob(job_id), TubeRef(target, "b"))
    assert tubes.counts("a") == {"buried": 1}
