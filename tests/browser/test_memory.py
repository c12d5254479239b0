"""Pages that stay open all day: what the console keeps for them doesn't grow. $BEANSCALE_PAGES_OPEN_S: for how long."""

import os
import time
from itertools import cycle
from pathlib import Path

import greenstalk
import pytest

from tests.beanstalkd.conftest import Beanstalkd
from tests.browser.conftest import NewPerson, StartConsole

OPEN_S = float(os.environ.get("BEANSCALE_PAGES_OPEN_S", "30"))
TUBES = [f"busy-{number}" for number in range(20)]
MOST_GROWTH_MB = 10

pytestmark = pytest.mark.timeout(OPEN_S + 270)


def resident_mb(process: int) -> float:
    status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    return int(status.partition("VmRSS:")[2].split()[0]) / 1000


def test_ten_open_pages_of_busy_tubes_use_no_more_memory_over_time(
    new_person: NewPerson, queue: Beanstalkd, start_console: StartConsole
) -> None:
    console = start_console(f"--beanstalkd=eu={queue.host}:{queue.port}", "--auth=none")
    people = [new_person(console) for _ in range(10)]
    with greenstalk.Client((queue.host, queue.port), encoding=None) as client:
        for person, tube in zip(people, cycle(TUBES[:5]), strict=False):
            client.use(tube)
            client.put(b"first")
            person.goes_to("/") if tube == TUBES[0] else person.opens_tube(tube)
        keep_busy(client, 15)  # until all that is loaded once is there
        before = resident_mb(console.process.pid)
        keep_busy(client, OPEN_S)
        grown = resident_mb(console.process.pid) - before
    assert grown < MOST_GROWTH_MB


def keep_busy(client: greenstalk.Client, seconds: float) -> None:
    """Something new in every tube several times a second."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for tube in TUBES:
            client.use(tube)
            client.put(b"x")
        time.sleep(0.2)
