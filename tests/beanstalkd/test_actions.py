"""What a person does to tubes and jobs of a real beanstalkd."""

from collections.abc import Callable

import pytest

from app.beanstalkd.protocol import TubeNameError
from app.beanstalkd.reading import TubeRef
from app.jobs import peek
from app.jobs.actions import (
    Done,
    RefusedError,
    ShownJob,
    State,
    bury,
    delete,
    delete_some,
    empty,
    kick_job,
    kick_some,
    pause,
    put,
    resume,
    stop_after,
)
from app.jobs.client import BeanstalkdError
from app.jobs.move import copy, move
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd, running_beanstalkd
from tests.beanstalkd.cutting import Cut, cutting
from tests.beanstalkd.jobs_there import Tubes

STATES = ["ready", "delayed", "buried"]
ALL = tuple(map(State, STATES))


def test_a_job_is_put_unchanged(ref: TubeRef, tubes: Tubes) -> None:
    done = put(ref, b"\x00\r\nquit\r\n", priority=3, delay_s=90, ttr_s=7)
    assert done == Done(f"job {done.id} is in tube a, ready in 90 s", id=done.id)
    assert done.id is not None
    job = tubes.job(done.id)
    assert (job["state"], job["pri"], job["delay"], job["ttr"]) == ("delayed", 3, 90, 7)
    assert tubes.body(done.id) == b"\x00\r\nquit\r\n"


def test_a_job_that_is_too_big_is_reported_with_both_sizes(ref: TubeRef, tubes: Tubes) -> None:
    with pytest.raises(BeanstalkdError, match=r"the job has 70,000 bytes, the limit is 65,535"):
        put(ref, b"x" * 70_000, priority=3, delay_s=0, ttr_s=7)
    assert tubes.counts("a") == {}


def test_a_draining_beanstalkd_accepts_no_job_and_is_reported(ref: TubeRef, beanstalkd: Beanstalkd) -> None:
    beanstalkd.drain()
    with pytest.raises(BeanstalkdError, match="draining"):
        put(ref, b"", priority=3, delay_s=0, ttr_s=7)


@pytest.mark.parametrize("state", ["buried", "delayed"])
def test_one_job_is_kicked(ref: TubeRef, tubes: Tubes, state: str) -> None:
    job_id = tubes.put("a", state=state)
    assert kick_job(ref, ShownJob(job_id)).message == f"job {job_id}, which was {state}, is ready"
    assert tubes.counts("a") == {"ready": 1}


@pytest.mark.parametrize("state", STATES)
def test_one_job_is_deleted(ref: TubeRef, tubes: Tubes, state: str) -> None:
    job_id = tubes.put("a", state=state)
    assert delete(ref, ShownJob(job_id)).message == f"job {job_id}, which was {state}, is deleted"
    assert tubes.job(job_id) is None


@pytest.mark.parametrize("state", ["ready", "delayed"])
def test_a_buried_job_keeps_its_priority(ref: TubeRef, tubes: Tubes, state: str) -> None:
    job_id = tubes.put("a", state=state, pri=5)
    assert bury(ref, ShownJob(job_id)).message == f"job {job_id}, which was {state}, is buried"
    assert (tubes.counts("a"), tubes.job(job_id)["pri"]) == ({"buried": 1}, 5)


@pytest.mark.parametrize(
    ("action", "state", "said"),
    [
        pytest.param(kick_job, "ready", "is already ready", id="kick a ready job"),
        pytest.param(
            kick_job,
            "reserved",
            "job 1 is reserved: only its worker can release it",
            id="kick a job in a worker's hands",
        ),
        pytest.param(bury, "buried", "is already buried", id="bury a buried job"),
        pytest.param(
            bury, "reserved", "job 1 is reserved: only its worker can release it", id="bury a job in a worker's hands"
        ),
        pytest.param(
            delete,
            "reserved",
            "job 1 is reserved: only its worker can release it",
            id="delete a job in a worker's hands",
        ),
    ],
)
def test_an_impossible_action_is_reported_and_changes_nothing(
    ref: TubeRef, tubes: Tubes, action: Callable[[TubeRef, ShownJob], Done], state: str, said: str
) -> None:
    job_id = tubes.put("a", state=state)
    with pytest.raises(RefusedError, match=said):
        action(ref, ShownJob(job_id))
    assert tubes.counts("a") == {state: 1}


@pytest.mark.parametrize("action", [kick_job, bury, delete])
def test_a_job_that_is_gone_is_reported(ref: TubeRef, action: Callable[[TubeRef, ShownJob], Done]) -> None:
    with pytest.raises(RefusedError, match="job 1 no longer exists"):
        action(ref, ShownJob(1))


@pytest.mark.parametrize("action", [kick_job, bury, delete])
def test_a_job_with_the_same_id_in_another_tube_is_unchanged(
    server: Server, tubes: Tubes, action: Callable[[TubeRef, ShownJob], Done]
) -> None:
    """Like a restart without a binlog: IDs start again."""
    job_id = tubes.put("b", state="delayed")
    with pytest.raises(RefusedError, match="job 1 is in tube b, not a"):
        action(TubeRef(server, "a"), ShownJob(job_id))
    assert tubes.counts("b") == {"delayed": 1}


@pytest.mark.parametrize(
    "action",
    [
        kick_job,
        bury,
        delete,
        pytest.param(lambda ref, job: move(ref, job, TubeRef(ref.server, "b")), id="move"),
        pytest.param(lambda ref, job: copy(ref, job, TubeRef(ref.server, "b")), id="copy"),
    ],
)
def test_a_restart_after_the_check_never_affects_another_job_with_the_same_id(
    server: Server, beanstalkd: Beanstalkd, tubes: Tubes, action: Callable[[TubeRef, ShownJob], Done]
) -> None:
    """Checking on one connection and acting on another one hits the new job."""
    job_id = tubes.put("a", state="delayed")
    after: list[Tubes] = []

    def restart() -> None:
        beanstalkd.restart()
        after.append(Tubes(server))
        assert after[0].put("a", state="delayed") == job_id

    with (
        cutting(server, Cut(1, heard=True, meanwhile=restart, only_delays=True)) as behind,
        pytest.raises((BeanstalkdError, RefusedError)),
    ):
        action(TubeRef(behind, "a"), ShownJob(job_id))
    assert (after[0].settled("a"), after[0].counts("b")) == ({"delayed": 1}, {})
    after[0].close()


@pytest.mark.parametrize("tube", ["007", "1_000", "a/b;c.$_()"])
def test_any_legal_name_is_accepted(server: Server, tubes: Tubes, tube: str) -> None:
    """greenstalk takes some for numbers, as beanstalkd 1.12 quotes none."""
    delete(TubeRef(server, tube), ShownJob(tubes.put(tube)))
    assert tubes.counts(tube) == {}


def test_a_kick_without_buried_jobs_changes_no_delayed_job(ref: TubeRef, tubes: Tubes) -> None:
    tubes.put("a", state="delayed")
    with pytest.raises(RefusedError, match=r"tube a has no buried jobs; kick would make its 1 delayed job ready early"):
        kick_some(ref, State.BURIED, 10, stop_after(60))
    assert tubes.counts("a") == {"delayed": 1}


def test_a_kick_affects_only_buried_jobs(ref: TubeRef, tubes: Tubes) -> None:
    for state in ("buried", "buried", "delayed"):
        tubes.put("a", state=state)
    assert kick_some(ref, State.BURIED, 10, stop_after(60)).message == "kicked 2 buried jobs of tube a"
    assert tubes.counts("a") == {"ready": 2, "delayed": 1}


def test_delayed_jobs_are_kicked_if_requested_though_others_are_buried(ref: TubeRef, tubes: Tubes) -> None:
    for state in ("buried", "delayed", "delayed"):
        tubes.put("a", state=state)
    assert kick_some(ref, State.DELAYED, 1, stop_after(60)).message == "kicked 1 delayed job of tube a"
    assert tubes.counts("a") == {"ready": 1, "delayed": 1, "buried": 1}


def test_the_next_jobs_are_deleted_and_counted(ref: TubeRef, tubes: Tubes) -> None:
    ids = [tubes.put("a") for _ in range(5)]
    done = delete_some(ref, State.READY, 3, stop_after(60))
    assert (done.message, done.count, done.more) == ("deleted 3 ready jobs of tube a", 3, False)
    assert [tubes.job(job_id) is None for job_id in ids] == [True, True, True, False, False]


def test_a_paused_tube_is_emptied_of_the_given_states(ref: TubeRef, tubes: Tubes) -> None:
    for state in (*STATES, "reserved", "ready"):
        tubes.put("a", state=state)
    tubes.pause("a")
    assert empty(ref, ALL, stop_after(60)).message == "deleted 4 jobs of tube a; workers keep 1 reserved job"
    assert tubes.counts("a") == {"reserved": 1}


def test_states_not_given_stay(ref: TubeRef, tubes: Tubes) -> None:
    for state in STATES:
        tubes.put("a", state=state)
    assert empty(ref, [State.BURIED], stop_after(60)).count == 1
    assert tubes.counts("a") == {"ready": 1, "delayed": 1}


def test_emptying_isnt_counted_as_a_worker(ref: TubeRef, tubes: Tubes) -> None:
    tubes.put("a")
    before = tubes.stats()
    empty(ref, ALL, stop_after(60))
    after = tubes.stats()
    assert after["current-workers"] == before["current-workers"]
    assert after["cmd-reserve-with-timeout"] == before["cmd-reserve-with-timeout"]


def test_emptying_ends_in_time_and_can_be_continued(ref: TubeRef, tubes: Tubes) -> None:
    for _ in range(10):
        tubes.put("a")
    turns = iter([False] * 4 + [True])
    first = empty(ref, ALL, lambda: next(turns))
    assert (first.count, first.more) == (4, True)
    assert first.message == "deleted 4 of about 10 jobs of tube a; repeat to continue"
    assert empty(ref, ALL, stop_after(60)).message == "deleted 6 jobs of tube a"


def test_emptying_ends_while_jobs_are_put(ref: TubeRef, tubes: Tubes) -> None:
    tubes.put("a")

    def one_more_each_time() -> bool:
        tubes.put("a")
        return False

    assert empty(ref, ALL, one_more_each_time).count == 1
    assert tubes.counts("a") == {"ready": 1}


def test_a_broken_connection_reports_how_many_were_deleted(server: Server, tubes: Tubes) -> None:
    for _ in range(5):
        tubes.put("a")
    after_two = 2 + 2 * 2 + 1
    with (
        cutting(server, Cut(after_two, heard=True)) as behind,
        pytest.raises(BeanstalkdError, match="closed the connection; before that it had deleted 2 jobs"),
    ):
        empty(TubeRef(behind, "a"), ALL, stop_after(60))
    assert tubes.counts("a") == {"ready": 3}


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda ref: kick_some(ref, State.BURIED, 1, stop_after(60)), id="kick"),
        pytest.param(lambda ref: delete_some(ref, State.READY, 1, stop_after(60)), id="delete"),
        pytest.param(lambda ref: empty(ref, ALL, stop_after(60)), id="empty"),
        pytest.param(lambda ref: pause(ref, 10), id="pause"),
        pytest.param(resume, id="resume"),
    ],
)
def test_a_vanished_tube_is_reported_and_not_created(
    ref: TubeRef, tubes: Tubes, action: Callable[[TubeRef], Done]
) -> None:
    with pytest.raises(RefusedError, match="there is no tube a"):
        action(ref)
    assert tubes.names() == ["default"]


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda ref: put(ref, b"", priority=1, delay_s=0, ttr_s=1), id="put"),
        pytest.param(lambda ref: kick_some(ref, State.BURIED, 1, stop_after(60)), id="kick"),
        pytest.param(lambda ref: empty(ref, ALL, stop_after(60)), id="empty"),
        pytest.param(lambda ref: pause(ref, 10), id="pause"),
        pytest.param(resume, id="resume"),
        pytest.param(peek.next_jobs, id="peek"),
    ],
)
def test_a_name_that_contains_a_command_never_reaches_beanstalkd(
    server: Server, tubes: Tubes, action: Callable[[TubeRef], object]
) -> None:
    with pytest.raises(TubeNameError):
        action(TubeRef(server, "a\r\nput 0 0 1 1\r\nx"))
    assert tubes.names() == ["default"]


def test_a_tube_is_paused_and_resumed(ref: TubeRef, tubes: Tubes) -> None:
    tubes.put("a")
    pause(ref, 1000)
    assert 900 < tubes.tube("a")["pause-time-left"] <= 1000
    resume(ref)
    assert tubes.tube("a")["pause-time-left"] == 0


def test_the_next_job_of_each_state_is_shown_and_stays(ref: TubeRef, tubes: Tubes) -> None:
    ids = {state: tubes.put("a", b"\xff", state, pri=3) for state in STATES}
    seen = peek.next_jobs(ref)
    assert {state: job.id for state, job in seen.items() if job} == ids
    ready = seen[State.READY]
    assert ready is not None
    assert (ready.state, ready.tube, ready.pri, ready.ttr_s, ready.size, ready.beginning) == (
        "ready",
        "a",
        3,
        50,
        1,
        b"\xff",
    )
    assert sum(tubes.counts("a").values()) == 3


def test_peeking_at_a_vanished_tube_doesnt_create_it(ref: TubeRef, tubes: Tubes) -> None:
    assert set(peek.next_jobs(ref).values()) == {None}
    assert tubes.names() == ["default"]


def test_of_a_large_job_only_the_beginning_is_read(tubes: Tubes, server: Server) -> None:
    job_id = tubes.put("a", b"x" * 65_535)
    seen = peek.job_by_id(server, job_id)
    assert seen is not None
    assert (seen.size, len(seen.beginning)) == (65_535, 65_535)


def test_of_a_huge_job_only_the_beginning_is_read() -> None:
    for other in running_beanstalkd("-z", "10000000"):
        there = Server("big", other.host, other.port)
        done = put(TubeRef(there, "a"), b"x" * 9_000_000, priority=1, delay_s=0, ttr_s=1)
        assert done.id is not None
        seen = peek.job_by_id(there, done.id)
        assert seen is not None
        assert (seen.size, len(seen.beginning), seen.state) == (9_000_000, peek.MAX_SHOWN, "ready")


def test_a_job_that_isnt_there_is_none(server: Server) -> None:
    assert peek.job_by_id(server, 99) is None


def test_a_beanstalkd_that_is_down_is_one_sentence(ref: TubeRef, beanstalkd: Beanstalkd) -> None:
    beanstalkd.stop()
    for look in (lambda: peek.next_jobs(ref), lambda: delete(ref, ShownJob(1)), lambda: resume(ref)):
        with pytest.raises(BeanstalkdError, match=f"^beanstalkd {ref.server.address}: connection refused$"):
            look()
