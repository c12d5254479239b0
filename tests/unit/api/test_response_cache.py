"""Before a new reading, a query gets the cached response, but never a stale one."""

import json
import math
from typing import Any

import pytest
from starlette.responses import Response

from app.api.external_metrics import ExternalMetrics, ResponseCache
from app.api.status import StatusError
from app.clock import Instant
from app.metrics.query import EvaluationContext
from tests.unit.api.test_external_metrics import about
from tests.unit.metrics.given import known, server, tube

pytestmark = pytest.mark.anyio
TABLE = b"application/json;as=Table;v=v1;g=meta.k8s.io"


class Asking:
    """Asks, and notes what had to be found out for it."""

    def __init__(self) -> None:
        self.found = 0
        self._endpoint = ExternalMetrics(self._wanted)

    def _wanted(self, *_of: Any) -> None:
        self.found += 1

    async def ask(
        self, given: EvaluationContext, metric: str = "tube-a", query: bytes = b"", accept: bytes = b""
    ) -> Any:
        headers = [(b"accept", accept)] if accept else []
        return json.loads((await self._endpoint.respond(*about(metric, query, *headers), given)).body)

    async def value(self, given: EvaluationContext, metric: str = "tube-a", query: bytes = b"") -> str:
        (item,) = (await self.ask(given, metric, query))["items"]
        return str(item["value"])


@pytest.fixture
def asking() -> Asking:
    return Asking()


def later(given: EvaluationContext, seconds: float) -> EvaluationContext:
    return given._replace(now=Instant(given.now.unix_s + seconds, given.now.monotonic_s + seconds))


async def test_a_cached_response_is_served_again(asking: Asking) -> None:
    given = known(server("eu", tube("a", ready=3)))
    assert [await asking.value(given), await asking.value(later(given, 5))] == ["3", "3"]
    assert asking.found == 1


async def test_a_new_reading_is_served_at_once(asking: Asking) -> None:
    assert await asking.value(known(server("eu", tube("a", ready=3)))) == "3"
    assert await asking.value(known(server("eu", tube("a", ready=4)))) == "4"
    assert await asking.value(known(server("eu", tube("a", ready=3)))) == "3"


async def test_a_response_older_than_max_age_is_not_served(asking: Asking) -> None:
    given = known(server("eu", tube("a", ready=3, age_s=14), age_s=14))
    assert await asking.value(given) == "3"
    with pytest.raises(StatusError, match="can't be read"):
        await asking.value(later(given, 1.5))


async def test_a_response_with_a_stale_listing_is_not_served_though_its_tubes_were_read_since(
    asking: Asking,
) -> None:
    given = known(server("eu", tube("a", ready=3, age_s=1), age_s=14))
    query = b"labelSelector=state%3Dready"
    assert await asking.value(given, "beanstalkd_tube_jobs", query) == "3"
    with pytest.raises(StatusError, match="can't be read"):
        await asking.value(later(given, 1.5), "beanstalkd_tube_jobs", query)


async def test_each_query_has_its_own_response(asking: Asking) -> None:
    given = known(server("eu", tube("a", ready=3), tube("b", ready=4)))
    selected = b"labelSelector=tube%3Db"
    for _ in range(2):
        assert await asking.value(given) == "3"
        assert await asking.value(given, "tube-b") == "4"
        assert (await asking.ask(given, query=selected))["items"] == []
        assert await asking.value(given, "tube-b", selected) == "4"


async def test_ages_in_a_table_are_current(asking: Asking) -> None:
    given = known(server("eu", tube("a", ready=3)))
    first, second = [await asking.ask(each, accept=TABLE) for each in (given, later(given, 2))]
    assert first["kind"] == "Table"
    assert first["rows"][0]["cells"] != second["rows"][0]["cells"]


async def test_an_error_is_not_cached(asking: Asking) -> None:
    given = known(server("eu", tube("a")))
    for _ in range(2):
        with pytest.raises(StatusError, match="no metric"):
            await asking.value(given, "nothing")


async def test_the_cache_is_limited_in_size_and_count(asking: Asking) -> None:
    given = known(server("eu", tube("a")))
    for _ in range(2):
        await asking.ask(given, query=b"x=" + b"a" * 2000)
    assert asking.found == 2
    for number in range(300):
        await asking.ask(given, f"tube-{number}")
    await asking.ask(given, "tube-0")
    assert asking.found == 302
    await asking.ask(given, "tube-299")
    assert asking.found == 303


def test_a_slow_response_to_an_old_snapshot_leaves_the_newer_ones_in_place() -> None:
    old, new = known(server("eu", tube("a", ready=3))), known(server("eu", tube("a", ready=4)))
    cache, forever = ResponseCache(), math.inf
    assert cache.get("slow", old) is None
    assert cache.get("quick", new) is None
    cache.put("quick", new, Response(b"4"), forever)
    cache.put("slow", old, Response(b"3"), forever)
    found = cache.get("quick", new)
    assert found is not None
    assert found.body == b"4"
    assert cache.get("slow", new) is None
