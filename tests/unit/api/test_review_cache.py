"""Reviews: asked once for all who wait, by a deadline, in few threads, and remembered in bounds."""

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from app.api import review_cache
from app.api.review_cache import MAX_CACHED, MAX_PENDING, MAX_PENDING_EACH, ReviewCache
from app.api.status import StatusError
from app.kube.errors import KubernetesError

pytestmark = pytest.mark.anyio


class Kubernetes:
    """Answers once it may; counts who asked."""

    def __init__(self) -> None:
        self.may_answer = threading.Event()
        self.asked = 0
        self.failures: list[KubernetesError] = []
        self.observed: list[tuple[str, str]] = []

    def __call__(self) -> str:
        self.asked += 1
        assert self.may_answer.wait(60)
        if self.failures:
            raise self.failures.pop(0)
        return "yes"

    def reviews(self, threads: int = 1) -> ReviewCache[str]:
        def observe(kind: str, verdict: str, _took_s: float) -> None:
            self.observed.append((kind, verdict))

        return ReviewCache("Review", threads, str, ("yes", "no"), observe)


@pytest.fixture
def kubernetes() -> Iterator[Kubernetes]:
    started = Kubernetes()
    yield started
    started.may_answer.set()


@pytest.fixture
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review_cache, "FIRST_RETRY_S", 0.0)
    monkeypatch.setattr(review_cache, "RETRIES", 2)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.001)


async def settled() -> None:
    """Wait until `observed` was called for all that ended: the event loop needs one iteration for each."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_concurrent_reviews_of_the_same_request_share_one_call(kubernetes: Kubernetes) -> None:
    reviews = kubernetes.reviews()
    waiting = [asyncio.create_task(reviews.get("client", "key", kubernetes)) for _ in range(50)]
    await until(lambda: kubernetes.asked == 1)
    kubernetes.may_answer.set()
    assert await asyncio.gather(*waiting) == ["yes"] * 50
    assert await reviews.get("client", "key", kubernetes) == "yes"
    assert kubernetes.asked == 1
    assert kubernetes.observed == [("Review", "yes")]


async def test_hundreds_of_callers_of_one_review_keep_no_other_waiting(kubernetes: Kubernetes) -> None:
    """Each goes on with a request that may take milliseconds."""
    reviews, order = kubernetes.reviews(), list[str]()

    async def request() -> None:
        await reviews.get("client", "key", kubernetes)
        order.append("request")

    async def other() -> None:
        while "request" not in order:
            await asyncio.sleep(0)
        for _ in range(10):
            await asyncio.sleep(0)
        order.append("other")

    tasks = [asyncio.create_task(each) for each in (*(request() for _ in range(300)), other())]
    await until(lambda: kubernetes.asked == 1)
    kubernetes.may_answer.set()
    await asyncio.gather(*tasks)
    assert order.index("other") < 50


async def test_a_cancelled_caller_does_not_cancel_the_others(kubernetes: Kubernetes) -> None:
    reviews = kubernetes.reviews()
    leaves, stays = (asyncio.create_task(reviews.get("client", "key", kubernetes)) for _ in range(2))
    await until(lambda: kubernetes.asked == 1)
    leaves.cancel()
    kubernetes.may_answer.set()
    assert await stays == "yes"
    assert leaves.cancelled()


async def test_a_failure_after_all_callers_left_is_not_cached(kubernetes: Kubernetes) -> None:
    """The caller's deadline had passed; the next one would have got a failure of ten seconds ago."""
    reviews = kubernetes.reviews()
    kubernetes.failures.append(KubernetesError("away"))
    leaves = asyncio.create_task(reviews.get("client", "key", kubernetes))
    await until(lambda: kubernetes.asked == 1)
    leaves.cancel()
    kubernetes.may_answer.set()
    await until(lambda: bool(kubernetes.observed))
    await settled()  # who comes at this very moment gets the failure of this very moment
    assert await reviews.get("client", "key", kubernetes) == "yes"
    assert kubernetes.observed == [("Review", "error"), ("Review", "yes")]


async def test_a_failure_goes_to_all_waiting_callers_and_to_no_later_one(kubernetes: Kubernetes) -> None:
    reviews = kubernetes.reviews()
    kubernetes.failures.append(KubernetesError("away"))
    kubernetes.may_answer.set()
    errors = await asyncio.gather(*(reviews.get("client", "key", kubernetes) for _ in range(5)), return_exceptions=True)
    assert [str(error) for error in errors] == ["away"] * 5
    assert await reviews.get("client", "key", kubernetes) == "yes"


@pytest.mark.parametrize("reason", ["InternalError", "Timeout", "TooManyRequests", "ConnectionReset"])
async def test_a_temporary_failure_is_retried(kubernetes: Kubernetes, no_pauses: None, reason: str) -> None:
    assert no_pauses is None
    kubernetes.failures += [KubernetesError("busy", reason=reason)] * 2
    kubernetes.may_answer.set()
    assert await kubernetes.reviews().get("client", "key", kubernetes) == "yes"
    assert kubernetes.asked == 3


@pytest.mark.parametrize(("reason", "times"), [("Forbidden", 1), ("Unreachable", 1), ("InternalError", 3)])
async def test_a_permanent_failure_is_an_error(
    kubernetes: Kubernetes, no_pauses: None, reason: str, times: int
) -> None:
    assert no_pauses is None
    kubernetes.failures += [KubernetesError("no", reason=reason)] * 9
    kubernetes.may_answer.set()
    with pytest.raises(KubernetesError):
        await kubernetes.reviews().get("client", "key", kubernetes)
    assert kubernetes.asked == times


async def test_a_hanging_kubernetes_is_an_error_at_the_deadline_and_blocks_few_callers(
    kubernetes: Kubernetes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review_cache, "DEADLINE_S", 0.05)
    reviews = kubernetes.reviews(threads=2)
    errors = await asyncio.gather(*(reviews.get("client", key, kubernetes) for key in range(9)), return_exceptions=True)
    assert {type(error) for error in errors} == {KubernetesError}
    await until(lambda: kubernetes.asked >= 2)
    assert kubernetes.asked == 2, "no more than there are threads"
    kubernetes.may_answer.set()
    await until(lambda: len(kubernetes.observed) == 9)
    monkeypatch.undo()
    assert await reviews.get("client", 0, kubernetes) == "yes"


async def test_pending_reviews_are_limited_in_total_and_per_client(kubernetes: Kubernetes) -> None:
    reviews = kubernetes.reviews()
    waiting = [
        asyncio.create_task(reviews.get(number // MAX_PENDING_EACH, number, kubernetes))
        for number in range(MAX_PENDING)
    ]
    await until(lambda: kubernetes.asked == 1)
    for client in (0, "another"):
        with pytest.raises(StatusError, match="too many Reviews are pending") as rejected:
            await reviews.get(client, "one more", kubernetes)
        assert rejected.value.code == 429
    kubernetes.may_answer.set()
    assert set(await asyncio.gather(*waiting)) == {"yes"}
    assert await reviews.get("another", "one more", kubernetes) == "yes"


async def test_one_client_takes_only_its_share(kubernetes: Kubernetes) -> None:
    reviews = kubernetes.reviews()
    waiting = [asyncio.create_task(reviews.get("one", number, kubernetes)) for number in range(MAX_PENDING_EACH)]
    await until(lambda: kubernetes.asked == 1)
    with pytest.raises(StatusError):
        await reviews.get("one", "one more", kubernetes)
    waiting.append(asyncio.create_task(reviews.get("another", "another", kubernetes)))
    kubernetes.may_answer.set()
    assert set(await asyncio.gather(*waiting)) == {"yes"}


async def test_the_cache_is_limited_in_total_and_per_entry(kubernetes: Kubernetes) -> None:
    reviews = kubernetes.reviews()
    kubernetes.may_answer.set()
    long = "a" * 10_000
    for number in range(300):
        await reviews.get("client", f"{number} {long}", kubernetes)
    asked = kubernetes.asked
    await reviews.get("client", f"299 {long}", kubernetes)
    assert kubernetes.asked == asked
    await reviews.get("client", f"0 {long}", kubernetes)
    assert kubernetes.asked == asked + 1, "the oldest are forgotten first"
    giant = "a" * MAX_CACHED
    for _ in range(2):
        await reviews.get("client", giant, kubernetes)
    assert kubernetes.asked == asked + 3, "a giant is never remembered"
    await reviews.get("client", f"299 {long}", kubernetes)
    assert kubernetes.asked == asked + 3, "and evicts no other"


async def test_a_result_that_is_not_cached_is_requested_again(kubernetes: Kubernetes) -> None:
    reviews = ReviewCache("Review", 1, lambda _: "undecided", ("yes", "no"), lambda *_: None)
    kubernetes.may_answer.set()
    for _ in range(2):
        await reviews.get("client", "key", kubernetes)
    assert kubernetes.asked == 2
