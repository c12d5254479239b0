"""Reviews for requests: in threads of their own, with a deadline, shared by all that wait for the same, cached.

As in servers built on Kubernetes' own library, a result counts for ten seconds, positive or negative. A failure counts
only for those who waited for it, and transient failures are retried with growing pauses.
Sources in k8s.io/apiserver: pkg/authentication/token/cache, plugin/pkg/authorizer/webhook, pkg/util/webhook and
pkg/server/options/authentication.go.
"""

import asyncio
from collections.abc import Callable, Container, Hashable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from time import perf_counter

from cachetools import TTLCache

from app.api.status import StatusError
from app.kube.errors import KubernetesError
from app.ratelimit import Slots, backoff

CACHED_S = 10.0
DEADLINE_S = 10.0
"""For a result, retries and waiting for a thread included."""
RETRIES = 4
FIRST_RETRY_S, MAX_RETRY_S = 0.75, 2.5
MAX_PENDING = 256
"""Reviews that run or wait for a thread; one more would only miss its deadline."""
MAX_PENDING_EACH = 32
"""Of one client: it can't keep others waiting for long, nor take all."""
MAX_CACHED = 1 << 21
"""Characters of the keys of all cached results: some thousand usual ones."""
_ENTRY = 256
"""Characters of memory that any entry costs."""
_TRANSIENT = frozenset({"InternalError", "Timeout", "ServerTimeout", "TooManyRequests", "ConnectionReset"})

Observe = Callable[[str, str, float], None]
"""Called for each review: its kind, the verdict or `error`, and its duration in seconds."""


class ReviewCache[Result]:
    """Reviews of one kind, so that one kind never waits for another. For one event loop."""

    def __init__(
        self, kind: str, threads: int, verdict: Callable[[Result], str], cached: Container[str], observe: Observe
    ) -> None:
        """`verdict` names a result; it is cached if that is among `cached`."""
        self._kind = kind
        self._verdict = verdict
        self._cached = cached
        self._observe = observe
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=kind)
        self._results: TTLCache[Hashable, tuple[Result, int]] = TTLCache(
            MAX_CACHED, CACHED_S, getsizeof=lambda result_and_size: result_and_size[1]
        )
        self._pending: dict[Hashable, asyncio.Task[Result]] = {}
        self._going_on = asyncio.Lock()  # of those that waited for another's review
        self._slots = Slots(MAX_PENDING, MAX_PENDING_EACH)

    async def get(self, client: Hashable, key: Hashable, call: Callable[[], Result]) -> Result:
        """Return the cached result for `key`, or run the blocking `call` in a thread; concurrent callers share one run.

        `client`: whose request it is. Raises KubernetesError, also after DEADLINE_S, and StatusError 429 if too many of
        this client's reviews, or too many at all, are pending.
        """
        try:
            return self._results[key][0]
        except KeyError:
            pass
        review = self._pending.get(key)
        if review is not None:
            result = await asyncio.shield(review)
            async with self._going_on:
                await asyncio.sleep(0)  # hundreds may have waited: the event loop serves others in between
            return result
        if not self._slots.take(client):
            message = f"too many {self._kind}s are pending; retry later"
            raise StatusError("TooManyRequests", message, {"retryAfterSeconds": 1})
        review = self._pending[key] = asyncio.create_task(self._review(call))
        review.add_done_callback(partial(self._finish, client, key))
        return await asyncio.shield(review)  # others may wait for it

    def _finish(self, client: Hashable, key: Hashable, review: asyncio.Task[Result]) -> None:
        del self._pending[key]
        self._slots.release(client)
        size = len(repr(key)) + _ENTRY
        if review.cancelled() or review.exception() is not None or size > MAX_CACHED // 64:
            return  # one huge entry would evict many others
        if self._verdict(review.result()) in self._cached:
            self._results[key] = review.result(), size

    async def _review(self, call: Callable[[], Result]) -> Result:
        try:
            async with asyncio.timeout(DEADLINE_S):
                for delay_s in islice(backoff(FIRST_RETRY_S, MAX_RETRY_S, 1.5), RETRIES):
                    try:
                        return await self._run(call)
                    except KubernetesError as error:
                        if error.reason not in _TRANSIENT:
                            raise
                    await asyncio.sleep(delay_s)
                return await self._run(call)
        except TimeoutError as error:
            problem = f"no {self._kind} succeeded within {DEADLINE_S:.0f} seconds; check kube-apiserver"
            raise KubernetesError(problem, reason="Unreachable") from error

    async def _run(self, call: Callable[[], Result]) -> Result:
        started, verdict = perf_counter(), "error"
        try:
            result = await asyncio.get_running_loop().run_in_executor(self._threads, call)
            verdict = self._verdict(result)
            return result
        finally:
            self._observe(self._kind, verdict, perf_counter() - started)
