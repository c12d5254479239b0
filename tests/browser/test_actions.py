"""Actions on a tube and its jobs, and their messages."""

import json
import re
from pathlib import Path

import greenstalk
import pytest
from playwright.sync_api import Route, expect

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole
from tests.browser.console import Person, Tube


def jobs(client: greenstalk.Client, tube: str, state: str) -> int:
    try:
        return int(client.stats_tube(tube)[f"current-jobs-{state}"])
    except greenstalk.NotFoundError:
        return 0


def test_a_job_is_put_with_its_priority_delay_and_time_to_run(person: Person, tube: Tube) -> None:
    client = tube("put-here")
    person.opens_tube("put-here")
    person.chooses("Put a job…", Body="héllo\nworld", Priority=5, Delay=0, Time_to_run=33)
    person.is_told(re.compile(r"job \d+ is in tube put-here", re.IGNORECASE))
    job = client.reserve(timeout=0)
    stats = client.stats_job(job)
    assert (job.body, stats["pri"], stats["ttr"]) == ("héllo\nworld".encode(), 5, 33)


def test_bytes_are_put_as_hex(person: Person, tube: Tube) -> None:
    client = tube("put-hex")
    page = person.opens_tube("put-hex")
    page.get_by_role("button", name="Put a job…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("hex").check()
    dialog.get_by_label("Body", exact=True).fill("00 ff 0")
    expect(dialog.get_by_role("button", name="Put job")).to_be_disabled()
    dialog.get_by_label("Body", exact=True).fill("00 ff 0d")
    person.confirms()
    person.is_told("put-hex")
    assert client.reserve(timeout=0).body == b"\x00\xff\r"


def test_a_file_is_put(person: Person, tube: Tube, tmp_path: Path) -> None:
    client = tube("put-file")
    page = person.opens_tube("put-file")
    file = tmp_path / "job.bin"
    file.write_bytes(bytes(range(256)))
    page.get_by_role("button", name="Put a job…").click()
    page.get_by_role("dialog").get_by_label("a file").check()
    page.get_by_label("File", exact=True).set_input_files(file)
    person.confirms()
    person.is_told("put-file")
    assert client.reserve(timeout=0).body == bytes(range(256))


def test_a_job_that_is_too_big_is_refused_in_the_dialog(person: Person, tube: Tube, tmp_path: Path) -> None:
    tube("put-too-big")
    page = person.opens_tube("put-too-big")
    file = tmp_path / "big"
    file.write_bytes(b"x" * 70000)
    page.get_by_role("button", name="Put a job…").click()
    page.get_by_role("dialog").get_by_label("a file").check()
    page.get_by_label("File", exact=True).set_input_files(file)
    person.confirms()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text("65,535")


def test_buried_jobs_are_kicked(person: Person, tube: Tube) -> None:
    client = tube("kicked")
    for _ in range(3):
        client.put(b"x")
        client.bury(client.reserve())
    page = person.opens_tube("kicked")
    expect(page.locator(".count.buried dd")).to_have_text("3")
    page.get_by_role("button", name="Kick…").click()
    expect(page.get_by_role("dialog")).to_contain_text("3 buried jobs can become ready")
    page.get_by_label("How many").fill("2")
    person.confirms()
    person.is_told(re.compile("2"))
    assert (jobs(client, "kicked", "ready"), jobs(client, "kicked", "buried")) == (2, 1)


def test_delayed_jobs_are_kicked_only_after_confirmation(person: Person, tube: Tube) -> None:
    client = tube("kicked-delayed")
    client.put(b"x", delay=600)
    page = person.opens_tube("kicked-delayed")
    expect(page.locator(".count.delayed dd")).to_have_text("1")
    page.get_by_role("button", name="Kick…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("No jobs are buried")
    expect(dialog.locator("button[type=submit]")).to_be_disabled()
    dialog.get_by_label("yes, make delayed jobs ready early").check()
    person.confirms()
    person.is_told(re.compile("1"))
    assert jobs(client, "kicked-delayed", "ready") == 1


def test_a_confirmation_for_delayed_jobs_is_void_once_a_job_is_buried(person: Person, tube: Tube) -> None:
    client = tube("kicked-late")
    client.put(b"x", delay=600)
    page = person.opens_tube("kicked-late")
    page.get_by_role("button", name="Kick…").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("yes, make delayed jobs ready early").check()
    client.put(b"y")
    client.bury(client.reserve())
    expect(dialog).to_contain_text("1 buried job can become ready")
    person.confirms()
    person.is_told("Kicked 1 buried job")
    assert (jobs(client, "kicked-late", "ready"), jobs(client, "kicked-late", "delayed")) == (1, 1)


def two_at_a_time(route: Route) -> None:
    """The console, as if its time were over after two jobs."""
    asked = route.request.post_data_json
    answer = route.fetch(post_data=json.dumps(asked | {"count": min(2, asked["count"])}))
    route.fulfill(response=answer, json=answer.json() | {"more": asked["count"] > 2})


def test_an_action_on_many_jobs_continues_by_itself(person: Person, tube: Tube) -> None:
    client = tube("many-deleted")
    for _ in range(7):
        client.put(b"x")
    page = person.opens_tube("many-deleted")
    page.route("**/actions/delete-some", two_at_a_time)
    person.chooses("Delete…", How_many=5)
    person.is_told("5 jobs in total")
    assert jobs(client, "many-deleted", "ready") == 2


def test_an_action_on_many_jobs_ends_with_its_dialog(person: Person, tube: Tube) -> None:
    client = tube("few-deleted")
    for _ in range(7):
        client.put(b"x")
    page = person.opens_tube("few-deleted")

    def closed_meanwhile(route: Route) -> None:
        page.get_by_role("button", name="Cancel").click()
        two_at_a_time(route)

    page.route("**/actions/delete-some", closed_meanwhile)
    person.chooses("Delete…", How_many=7)
    person.is_told("2")
    assert jobs(client, "few-deleted", "ready") == 5


def test_a_job_moves_to_another_server(
    new_person: NewPerson, start_console: StartConsole, queue: Beanstalkd, beanstalkd: Beanstalkd, tube: Tube
) -> None:
    job = tube("far-away").put(b"x", priority=7)
    servers = (f"--beanstalkd={name}={each.host}:{each.port}" for name, each in (("eu", queue), ("us", beanstalkd)))
    person = new_person(start_console(*servers))
    person.comes_in()
    page = person.opens_tube("far-away")
    page.locator(".job.ready").get_by_role("button", name="Move…").click()
    page.get_by_label("To tube").fill("far-away")
    page.get_by_role("radio", name="us", exact=True).check()
    person.confirms()
    person.is_told(f"Job {job} of tube far-away is now job 1 of tube far-away of us")
    with greenstalk.Client((beanstalkd.host, beanstalkd.port), encoding=None, watch="far-away") as there:
        assert there.stats_job(there.reserve(timeout=0))["pri"] == 7


def test_a_tube_is_paused_and_resumed(person: Person, tube: Tube) -> None:
    client = tube("paused-by-hand")
    page = person.opens_tube("paused-by-hand")
    person.chooses("Pause…", For_how_many_seconds=300)
    person.is_told("300 s")
    assert client.stats_tube("paused-by-hand")["pause"] == 300
    expect(page.locator("#notes")).to_contain_text("paused")
    person.chooses("Resume")
    person.is_told("again")
    assert client.stats_tube("paused-by-hand")["pause-time-left"] == 0


@pytest.mark.parametrize(
    ("state", "button", "becomes"),
    [
        pytest.param("ready", "Bury", "buried", id="a ready one is buried"),
        pytest.param("buried", "Kick", "ready", id="a buried one is kicked"),
        pytest.param("delayed", "Kick", "ready", id="a delayed one is kicked"),
    ],
)
def test_one_job_changes_its_state(person: Person, tube: Tube, state: str, button: str, becomes: str) -> None:
    name = f"one-job-{state}"
    client = tube(name)
    job = client.put(b"x", priority=9, delay=600 if state == "delayed" else 0)
    if state == "buried":
        client.bury(client.reserve())
    page = person.opens_tube(name)
    page.locator(f".job.{state}").get_by_role("button", name=button).click()
    person.is_told(f"Job {job}")
    assert jobs(client, name, becomes) == 1
    page.mouse.move(0, 0)
    expect(page.locator(f".job.{becomes}")).to_contain_text(f"job {job}")


def test_one_job_is_deleted_after_it_was_shown(person: Person, tube: Tube) -> None:
    client = tube("one-deleted")
    job = client.put(b"x")
    page = person.opens_tube("one-deleted")
    page.locator(".job.ready").get_by_role("button", name="Delete…").click()
    expect(page.get_by_role("dialog")).to_contain_text("Permanently deletes")
    expect(page.get_by_role("dialog")).to_contain_text("1 ready")
    page.get_by_role("button", name="Cancel").click()
    assert jobs(client, "one-deleted", "ready") == 1
    page.locator(".job.ready").get_by_role("button", name="Delete…").click()
    person.confirms()
    person.is_told(f"Job {job}")
    assert jobs(client, "one-deleted", "ready") == 0


def test_a_job_that_is_gone_in_the_meantime_is_reported(person: Person, tube: Tube) -> None:
    client = tube("gone-meanwhile")
    job = client.put(b"x")
    page = person.opens_tube("gone-meanwhile")
    page.locator(".job.ready").get_by_role("button", name="Delete…").click()
    client.delete(job)
    person.confirms()
    expect(page.get_by_role("dialog").get_by_role("alert")).to_contain_text(f"Job {job} no longer exists")


def test_some_jobs_are_deleted(person: Person, tube: Tube) -> None:
    client = tube("some-deleted")
    for _ in range(5):
        client.put(b"x")
    page = person.opens_tube("some-deleted")
    person.chooses("Delete…", How_many=3)
    person.is_told("3")
    assert jobs(client, "some-deleted", "ready") == 2
    expect(page.locator(".count.ready dd")).to_have_text("2")


def test_a_tube_is_emptied_only_after_typing_its_name_with_live_counts(person: Person, tube: Tube) -> None:
    client = tube("emptied")
    client.put(b"x")
    client.bury(client.reserve())
    for _ in range(4):
        client.put(b"x")
    client.put(b"x", delay=600)
    page = person.opens_tube("emptied")
    page.get_by_role("button", name="Empty…").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("4 ready, 1 delayed, 1 buried")
    client.put(b"x")
    expect(dialog).to_contain_text("5 ready, 1 delayed, 1 buried")
    go = dialog.get_by_role("button", name="Delete jobs")
    expect(go).to_be_disabled()
    dialog.get_by_label("To confirm").fill("empty")
    expect(go).to_be_disabled()
    dialog.get_by_label("To confirm").fill("emptied")
    dialog.get_by_label("delayed", exact=True).uncheck()
    go.click()
    person.is_told("6")
    assert [jobs(client, "emptied", state) for state in ("ready", "delayed", "buried")] == [0, 1, 0]


def test_a_job_is_moved_with_all_its_properties(person: Person, tube: Tube) -> None:
    here, there = tube("moved-from"), tube("moved-to")
    here.put(b"precious", priority=3, ttr=77)
    page = person.opens_tube("moved-from")
    page.locator(".job.ready").get_by_role("button", name="Move…").click()
    page.get_by_role("dialog").get_by_label("To tube").fill("moved-to")
    person.confirms()
    person.is_told("moved-to")
    job = there.reserve(timeout=0)
    stats = there.stats_job(job)
    assert (job.body, stats["pri"], stats["ttr"]) == (b"precious", 3, 77)
    assert jobs(here, "moved-from", "ready") == 0


def test_a_job_is_copied(person: Person, tube: Tube) -> None:
    here, there = tube("copied-from"), tube("copied-to")
    here.put(b"twice")
    page = person.opens_tube("copied-from")
    page.locator(".job.ready").get_by_role("button", name="Copy…").click()
    page.get_by_role("dialog").get_by_label("To tube").fill("copied-to")
    person.confirms()
    person.is_told("copied-to")
    assert there.reserve(timeout=0).body == b"twice"
    assert jobs(here, "copied-from", "ready") == 1


def test_some_jobs_are_moved(person: Person, tube: Tube) -> None:
    here, there = tube("some-from"), tube("some-to")
    for _ in range(4):
        here.put(b"x")
    person.opens_tube("some-from")
    person.chooses("Move…", How_many=3, To_tube="some-to")
    person.is_told("some-to")
    assert jobs(there, "some-to", "ready") == 3
    assert jobs(here, "some-from", "ready") == 1
