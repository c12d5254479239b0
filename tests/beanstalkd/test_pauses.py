"""Jobs of a tube that beanstalkd has paused don't count where they are ignored, until the pause ends."""

import pytest

from app import clock
from app.beanstalkd.poller import Poller
from app.metrics.query import EvaluationContext, MetricQuery
from app.metrics.resolve import resolve
from app.metrics.rules_file import parse_rules
from app.metrics.selector import parse_selector
from tests.beanstalkd.conftest import Beanstalkd
from tests.beanstalkd.reading import address, beanstalkds, client, first, polling, until

pytestmark = pytest.mark.anyio
RULES = b"""
metrics:
- {name: unpaused, tubes: ["check*"], paused: ignore}
- {name: busy, tubes: [checkout], paused: ignore, busy: {keep: 10}}
"""


def value(poller: Poller, metric: str, selector: str = "") -> int:
    rules = parse_rules(RULES, "rules.yaml", [state.server.name for state in poller.snapshot.servers])
    context = EvaluationContext(poller.snapshot, clock.now(), 15, rules)
    values = resolve(MetricQuery(metric, "shop", parse_selector(selector)), context).values()
    return sum(int(each.quantity) for each in values)


async def test_a_pause_holds_back_ready_jobs_until_it_ends(beanstalkd: Beanstalkd) -> None:
    with client(beanstalkd, "checkout") as jobs:
        for _ in range(5):
            jobs.put(b"job")
        jobs.reserve()
        async with polling(address(beanstalkd)) as poller:
            await until(lambda: first(poller).reading is not None)
            assert value(poller, "tube-checkout", "paused=false") == 5
            jobs.pause_tube("checkout", 3)
            await until(lambda: value(poller, "tube-checkout", "paused=false") == 1)
            assert value(poller, "unpaused") == 1
            assert value(poller, "busy") == 10
            assert value(poller, "tube-checkout") == 5
            assert value(poller, "tube-checkout", "paused=true") == 4
            assert value(poller, "beanstalkd_tube_jobs", "tube=checkout,state in (ready,reserved),paused=false") == 1
            await until(lambda: value(poller, "tube-checkout", "paused=false") == 5)
            assert value(poller, "unpaused") == 5
            with pytest.raises(TimeoutError):  # and so it stays
                await until(lambda: value(poller, "unpaused") != 5, within_s=1.5)


async def test_a_tube_that_is_paused_on_one_server_counts_on_the_other() -> None:
    with beanstalkds("127.0.0.1", "127.0.0.2") as (eu, us):
        for each in (eu, us):
            with client(each, "checkout") as jobs:
                jobs.put(b"job")
                if each is eu:
                    jobs.pause_tube("checkout", 60)
        async with polling(address(eu), address(us, "us")) as poller:
            await until(lambda: all(state.reading for state in poller.snapshot.servers))
            assert value(poller, "unpaused") == 1
            assert value(poller, "tube-checkout", "paused=false") == 1
            assert value(poller, "beanstalkd_tube_jobs", "tube=checkout,server=eu,paused=false") == 0
