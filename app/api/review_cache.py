"""Reviews for requests: in threads of their own, by a deadline, one for all who wait for the same, kept for a while.

As in the servers built on Kubernetes' own library: what was answered counts for ten seconds, be it yes or no; what
couldn't be answered counts for those alone who waited for it; passing failures are asked again, with growing pauses.
Sources in k8s.io/apiserver: pkg/authentication/token/cache, plugin/pkg/authorizer/webhook, pkg/util/webhook and
pkg/server/options/authentication.go.
"""

import asyncio
from collections.abc import Callable, Container, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from random import uniform
from time import perf_counter

from cachetools import TTLCache

from app.kube.errors import KubernetesError

CACHED_S = 10.0
DEADLINE_S = 10.0
"""For an answer, repetitions and waiting for a thread included."""
PAUSES_S = (0.5, 0.75, 1.125, 1.6875)
"""Before the second attempt and so on; up to a fifth more by chance."""
MOST_UNDER_WAY = 256
"""Reviews that run or wait for a thread; one more would only miss its deadline."""
MOST_REMEMBERED = 1 << 21
"""Characters of what all remembered answers are about: some thousand of usual ones."""
_USUAL = 256
"""Characters of memory that any answer costs."""

_PASSING = frozenset({"InternalError", "Timeout", "ServerTimeout", "TooManyRequests", "ConnectionReset"})

Observe = Callable[[str, str, float], None]
"""Hears of each review asked: its kind, the verdict or `error`, and the seconds that it took."""


@dataclass(frozen=True, slots=True)
class _Known[Answer]:
    answer: Answer
    size: int


class Reviews[Answer]:
    """Reviews of one kind, so that one kind never waits for another. For one event loop."""

    def __init__(
        self, kind: str, threads: int, verdict: Callable[[Answer], str], observe: Observe, *, kept: Container[str]
    ) -> None:
        """`verdict` names an answer; it is kept for a while if that is among `kept`."""
        self._kind = kind
        self._verdict = verdict
        self._observe = observe
        self._kept = kept
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=kind)
        self._known: TTLCache[Hashable, _Known[Answer]] = TTLCache(
            MOST_REMEMBERED, CACHED_S, getsizeof=lambda known: known.size
        )
        self._under_way: dict[Hashable, asyncio.Task[Answer]] = {}

    async def answer(self, key: Hashable, ask: Callable[[], Answer]) -> Answer:
        """What is known, or what `ask`, which blocks, returns or raises. Raises KubernetesError."""
        known = self._known.get(key)
        if known is not None:
            return known.answer
        review = self._under_way.get(key)
        if review is None:
            if len(self._under_way) >= MOST_UNDER_WAY:
                raise KubernetesError(f"{MOST_UNDER_WAY} {self._kind}s are under way already; ask again later")
            review = self._under_way[key] = asyncio.create_task(self._ask(ask))
            review.add_done_callback(partial(self._settle, key))
        return await asyncio.shield(review)  # others wait for it too: one who leaves doesn't take it along

    def _settle(self, key: Hashable, review: asyncio.Task[Answer]) -> None:
        del self._under_way[key]
        if review.cancelled() or review.exception() is not None or self._verdict(review.result()) not in self._kept:
            return
        known = _Known(review.result(), len(repr(key)) + _USUAL)
        if known.size <= MOST_REMEMBERED // 64:  # a giant one would push out many others
            self._known[key] = known

    async def _ask(self, ask: Callable[[], Answer]) -> Answer:
        try:
            async with asyncio.timeout(DEADLINE_S):
                return await self._ask_again(ask)
        except TimeoutError as error:
            raise KubernetesError(
                f"no {self._kind} was answered within {DEADLINE_S:.0f} seconds; is kube-apiserver well?",
                reason="Unreachable",
            ) from error

    async def _ask_again(self, ask: Callable[[], Answer]) -> Answer:
        for pause_s in PAUSES_S:
            try:
                return await self._ask_once(ask)
            except KubernetesError as error:
                if error.reason not in _PASSING:
                    raise
            await asyncio.sleep(pause_s * uniform(1, 1.2))  # noqa: S311 - spreads load, hides nothing
        return await self._ask_once(ask)

    async def _ask_once(self, ask: Callable[[], Answer]) -> Answer:
        started, verdict = perf_counter(), "error"
        try:
            answer = await asyncio.get_running_loop().run_in_executor(self._threads, ask)
            verdict = self._verdict(answer)
            return answer
        finally:
            self._observe(self._kind, verdict, perf_counter() - started)
