"""What a person does to tubes and jobs of a real beanstalkd."""

from collections.abc import Callable

import pytest

from app.beanstalkd.protocol import TubeNameError
from app.jobs import peek
from app.jobs.actions import (
    Done,
    Place,
    RefusedError,
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
    within,
)
from app.jobs.client import BeanstalkdError
from app.settings import Server
from tests.beanstalkd.conftest import Beanstalkd, running_beanstalkd
from tests.beanstalkd.cutting import Cut, cutting
from tests.beanstalkd.jobs_there import Tubes

STATES = ["ready", "delayed", "buried"]
ALL = tuple(map(State, STATES))


def test_a_job_is_put_as_it_was_written(place: Place, tubes: Tubes) -> None:
    done = put(place, b"\x00\r\nquit\r\n", priority=3, delay_s=90, ttr_s=7)
    assert done == Done(f"job {done.id} is in tube a, ready in 90 s", id=done.id)
    assert done.id is not None
    job = tubes.job(done.id)
    assert (job["state"], job["pri"], job["delay"], job["ttr"]) == ("delayed", 3, 90, 7)
    assert tubes.body(done.id) == b"\x00\r\nquit\r\n"


def test_a_job_that_is_too_big_is_told_with_both_sizes(place: Place, tubes: Tubes) -> None:
    with pytest.raises(BeanstalkdError, match=r"70,000 bytes are more than it takes as one job, which is 65,535"):
        put(place, b"x" * 70_000, priority=3, delay_s=0, ttr_s=7)
    assert tubes.counts("a") == {}


def test_a_draining_beanstalkd_takes_no_job_and_says_so(place: Place, beanstalkd: Beanstalkd) -> None:
    beanstalkd.drain()
    with pytest.raises(BeanstalkdError, match="draining"):
        put(place, b"", priority=3, delay_s=0, ttr_s=7)


@pytest.mark.parametrize("state", ["buried", "delayed"])
def test_one_job_is_kicked(place: Place, tubes: Tubes, state: str) -> None:
    job_id = tubes.put("a", state=state)
    assert kick_job(place, job_id).message == f"job {job_id}, which was {state}, is ready"
    assert tubes.counts("a") == {"ready": 1}


@pytest.mark.parametrize("state", STATES)
def test_one_job_is_deleted(place: Place, tubes: Tubes, state: str) -> None:
    job_id = tubes.put("a", state=state)
    assert delete(place, job_id).message == f"job {job_id}, which was {state}, is deleted"
    assert tubes.job(job_id) is None


@pytest.mark.parametrize("state", ["ready", "delayed"])
def test_a_buried_job_keeps_its_priority(place: Place, tubes: Tubes, state: str) -> None:
    job_id = tubes.put("a", state=state, pri=5)
    assert bury(place, job_id).message == f"job {job_id}, which was {state}, is buried"
    assert (tubes.counts("a"), tubes.job(job_id)["pri"]) == ({"buried": 1}, 5)


@pytest.mark.parametrize(
    ("action", "state", "said"),
    [
        pytest.param(kick_job, "ready", "is ready already", id="kick a ready job"),
        pytest.param(kick_job, "reserved", "a worker has job 1 in hand", id="kick a job in a worker's hands"),
        pytest.param(bury, "buried", "is buried already", id="bury a buried job"),
        pytest.param(bury, "reserved", "a worker has job 1 in hand", id="bury a job in a worker's hands"),
        pytest.param(delete, "reserved", "a worker has job 1 in hand", id="delete a job in a worker's hands"),
    ],
)
def test_what_cant_be_done_is_told_and_changes_nothing(
    place: Place, tubes: Tubes, action: Callable[[Place, int], Done], state: str, said: str
) -> None:
    job_id = tubes.put("a", state=state)
    with pytest.raises(RefusedError, match=said):
        action(place, job_id)
    assert tubes.counts("a") == {state: 1}


@pytest.mark.parametrize("action", [kick_job, bury, delete])
def test_a_job_that_is_gone_is_told(place: Place, action: Callable[[Place, int], Done]) -> None:
    with pytest.raises(RefusedError, match="job 1 isn't there any more"):
        action(place, 1)


@pytest.mark.parametrize("action", [kick_job, bury, delete])
def test_a_job_with_the_same_id_in_another_tube_is_left_alone(
    server: Server, tubes: Tubes, action: Callable[[Place, int], Done]
) -> None:
    """As after a restart without a binlog: ids begin anew."""
    job_id = tubes.put("b", state="delayed")
    with pytest.raises(RefusedError, match="isn't one of tube a, but of b"):
        action(Place(server, "a"), job_id)
    assert tubes.counts("b") == {"delayed": 1}


@pytest.mark.parametrize("tube", ["007", "1_000", "a/b;c.$_()"])
def test_any_legal_name_is_a_tubes(server: Server, tubes: Tubes, tube: str) -> None:
    """greenstalk takes some for numbers, as beanstalkd 1.12 quotes none."""
    delete(Place(server, tube), tubes.put(tube))
    assert tubes.counts(tube) == {}


def test_a_kick_where_nothing_is_buried_any_more_leaves_delayed_jobs_alone(place: Place, tubes: Tubes) -> None:
    tubes.put("a", state="delayed")
    with pytest.raises(RefusedError, match=r"nothing is buried in tube a .* 1 delayed job would be made ready"):
        kick_some(place, State.BURIED, 10, within(60))
    assert tubes.counts("a") == {"delayed": 1}


def test_a_kick_never_reaches_further_than_what_is_buried(place: Place, tubes: Tubes) -> None:
    for state in ("buried", "buried", "delayed"):
        tubes.put("a", state=state)
    assert kick_some(place, State.BURIED, 10, within(60)).message == "kicked 2 buried jobs of tube a"
    assert tubes.counts("a") == {"ready": 2, "delayed": 1}


def test_delayed_jobs_are_kicked_when_they_are_meant_though_others_are_buried(place: Place, tubes: Tubes) -> None:
    for state in ("buried", "delayed", "delayed"):
        tubes.put("a", state=state)
    assert kick_some(place, State.DELAYED, 1, within(60)).message == "kicked 1 delayed job of tube a"
    assert tubes.counts("a") == {"ready": 1, "delayed": 1, "buried": 1}


def test_the_next_ones_are_deleted_and_counted(place: Place, tubes: Tubes) -> None:
    ids = [tubes.put("a") for _ in range(5)]
    done = delete_some(place, State.READY, 3, within(60))
    assert (done.message, done.count, done.more) == ("deleted 3 ready jobs of tube a", 3, False)
    assert [tubes.job(job_id) is None for job_id in ids] == [True, True, True, False, False]


def test_a_tube_is_emptied_of_what_was_named_though_it_is_paused(place: Place, tubes: Tubes) -> None:
    for state in (*STATES, "reserved", "ready"):
        tubes.put("a", state=state)
    tubes.pause("a")
    assert (
        empty(place, ALL, within(60)).message == "deleted 4 jobs of tube a; workers keep 1 job that they have in hand"
    )
    assert tubes.counts("a") == {"reserved": 1}


def test_what_wasnt_named_stays(place: Place, tubes: Tubes) -> None:
    for state in STATES:
        tubes.put("a", state=state)
    assert empty(place, [State.BURIED], within(60)).count == 1
    assert tubes.counts("a") == {"ready": 1, "delayed": 1}


def test_emptying_isnt_taken_for_a_worker(place: Place, tubes: Tubes) -> None:
    tubes.put("a")
    before = tubes.stats()
    empty(place, ALL, within(60))
    after = tubes.stats()
    assert after["current-workers"] == before["current-workers"]
    assert after["cmd-reserve-with-timeout"] == before["cmd-reserve-with-timeout"]


def test_emptying_ends_in_time_and_goes_on_when_asked_again(place: Place, tubes: Tubes) -> None:
    for _ in range(10):
        tubes.put("a")
    turns = iter([False] * 4 + [True])
    first = empty(place, ALL, lambda: next(turns))
    assert (first.count, first.more) == (4, True)
    assert first.message == "deleted 4 of about 10 jobs of tube a; do it again to go on"
    assert empty(place, ALL, within(60)).message == "deleted 6 jobs of tube a"


def test_emptying_ends_while_others_go_on_putting(place: Place, tubes: Tubes) -> None:
    tubes.put("a")

    def one_more_each_time() -> bool:
        tubes.put("a")
        return False

    assert empty(place, ALL, one_more_each_time).count == 1
    assert tubes.counts("a") == {"ready": 1}


def test_a_connection_that_breaks_tells_how_many_were_deleted(server: Server, tubes: Tubes) -> None:
    for _ in range(5):
        tubes.put("a")
    after_two = 2 + 2 * 2 + 1
    with (
        cutting(server, Cut(after_two, heard=True)) as behind,
        pytest.raises(BeanstalkdError, match="closed the connection; before that it had deleted 2 jobs"),
    ):
        empty(Place(behind, "a"), ALL, within(60))
    assert tubes.counts("a") == {"ready": 3}


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda place: kick_some(place, State.BURIED, 1, within(60)), id="kick"),
        pytest.param(lambda place: delete_some(place, State.READY, 1, within(60)), id="delete"),
        pytest.param(lambda place: empty(place, ALL, within(60)), id="empty"),
        pytest.param(lambda place: pause(place, 10), id="pause"),
        pytest.param(resume, id="resume"),
    ],
)
def test_a_vanished_tube_is_told_and_not_made_anew(place: Place, tubes: Tubes, action: Callable[[Place], Done]) -> None:
    with pytest.raises(RefusedError, match="there is no tube a"):
        action(place)
    assert tubes.names() == ["default"]


@pytest.mark.parametrize(
    "action",
    [
        pytest.param(lambda place: put(place, b"", priority=1, delay_s=0, ttr_s=1), id="put"),
        pytest.param(lambda place: kick_some(place, State.BURIED, 1, within(60)), id="kick"),
        pytest.param(lambda place: empty(place, ALL, within(60)), id="empty"),
        pytest.param(lambda place: pause(place, 10), id="pause"),
        pytest.param(resume, id="resume"),
        pytest.param(peek.next_jobs, id="peek"),
    ],
)
def test_a_name_that_hides_a_command_never_reaches_beanstalkd(
    server: Server, tubes: Tubes, action: Callable[[Place], object]
) -> None:
    with pytest.raises(TubeNameError):
        action(Place(server, "a\r\nput 0 0 1 1\r\nx"))
    assert tubes.names() == ["default"]


def test_a_tube_is_paused_and_resumed(place: Place, tubes: Tubes) -> None:
    tubes.put("a")
    pause(place, 1000)
    assert 900 < tubes.tube("a")["pause-time-left"] <= 1000
    resume(place)
    assert tubes.tube("a")["pause-time-left"] == 0


def test_the_next_job_of_each_state_is_shown_and_stays(place: Place, tubes: Tubes) -> None:
    ids = {state: tubes.put("a", b"\xff", state, pri=3) for state in STATES}
    seen = peek.next_jobs(place)
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


def test_looking_at_a_vanished_tube_doesnt_make_it(place: Place, tubes: Tubes) -> None:
    assert set(peek.next_jobs(place).values()) == {None}
    assert tubes.names() == ["default"]


def test_of_a_large_job_only_the_beginning_is_read(tubes: Tubes, server: Server) -> None:
    job_id = tubes.put("a", b"x" * 65_535)
    seen = peek.job(server, job_id)
    assert seen is not None
    assert (seen.size, len(seen.beginning)) == (65_535, 65_535)


def test_of_a_huge_job_only_the_beginning_is_read() -> None:
    for other in running_beanstalkd("-z", "10000000"):
        there = Server("big", other.host, other.port)
        done = put(Place(there, "a"), b"x" * 9_000_000, priority=1, delay_s=0, ttr_s=1)
        assert done.id is not None
        seen = peek.job(there, done.id)
        assert seen is not None
        assert (seen.size, len(seen.beginning), seen.state) == (9_000_000, peek.MOST_SHOWN, "ready")


def test_a_job_that_isnt_there_is_none(server: Server) -> None:
    assert peek.job(server, 99) is None


def test_a_beanstalkd_that_is_down_is_one_sentence(place: Place, beanstalkd: Beanstalkd) -> None:
    beanstalkd.stop()
    for look in (lambda: peek.next_jobs(place), lambda: delete(place, 1), lambda: resume(place)):
        with pytest.raises(BeanstalkdError, match=f"^beanstalkd {place.server.address}: connection refused$"):
            look()
