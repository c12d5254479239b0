"""What each page shows, as JSON: computed in one thread, once per snapshot and query, and shared by all who show it.

That thread also records the history (history.py), so what it computes from is never half-written.
"""

import asyncio
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from app.beanstalkd.demand import Demand
from app.beanstalkd.protocol import check_tube_name
from app.beanstalkd.reading import Snapshot
from app.console.autoscalers import AutoscalerPoller, AutoscalerStore, parse_target, what_if
from app.console.errors import RequestError
from app.console.health import late_servers
from app.console.overview import View, overview, parse_query, servers_json, tube_page
from app.explain.report import make_report, report_json
from app.hpa.decision import Missing
from app.settings import ObjectName

SHARED_S = 1.0
"""Seconds for which a page is shared while no new reading comes."""
_MAX_SHARED = 100
_TIMES = frozenset({"now", "ageSeconds", "lastRead"})

type Json = Mapping[str, Any]
type Query = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Page:
    """What a page shows at one moment."""

    data: Json
    json: bytes
    """`data`, serialized."""
    essence: bytes
    """`json` without the times that always differ: equal as long as nothing happened."""

    @classmethod
    def of(cls, compute: Callable[[], Json]) -> "Page":
        """Compute and serialize."""
        data = compute()
        return cls(data, _serialized(data), _serialized(_without_times(data)))


def _serialized(data: Any) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def _without_times(data: Any) -> Any:
    if isinstance(data, Mapping):
        return {key: _without_times(value) for key, value in data.items() if key not in _TIMES}
    if isinstance(data, list | tuple) and data and isinstance(data[0], Mapping):
        return [_without_times(each) for each in data]
    return data


@dataclass(frozen=True, slots=True)
class _Shared:
    snapshot: Snapshot
    late: Sequence[bool]
    started_s: float
    task: asyncio.Task[Page]


@dataclass(eq=False)
class PageData:
    """Pages by name and query."""

    view: Callable[[], View]
    demand: Demand
    thread: Executor
    store: AutoscalerStore
    autoscalers: AutoscalerPoller | None
    """None without a cluster."""
    load_test: Callable[[ObjectName], Json | None]
    """Returns the run that was started on an autoscaler's page."""
    _shared: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], _Shared] = field(
        default_factory=OrderedDict, init=False
    )

    async def get(self, name: str, query: Query) -> Page:
        """Return a page, computed or shared. Raises RequestError and TubeNameError."""
        view, key = self.view(), (name, tuple(sorted(query.items())))
        snapshot, now_s, late = view.snapshot, view.now.monotonic_s, late_servers(view.snapshot, view.now)
        shared = self._shared.get(key)
        if shared is None or (
            shared.task.done()
            and (now_s - shared.started_s >= SHARED_S or shared.snapshot is not snapshot or shared.late != late)
        ):
            task = asyncio.create_task(self._compute(view, name, query))
            task.add_done_callback(lambda done: done.cancelled() or done.exception())  # all who wait may have left
            shared = self._shared[key] = _Shared(snapshot, late, now_s, task)
            self._shared.move_to_end(key)
            if len(self._shared) > _MAX_SHARED:
                self._shared.popitem(last=False)
        return await asyncio.shield(shared.task)

    async def run[T](self, function: Callable[[], T]) -> T:
        """Run in the pages' thread."""
        return await asyncio.get_running_loop().run_in_executor(self.thread, function)

    async def _compute(self, view: View, name: str, query: Query) -> Page:
        store = self.store
        compute: Callable[[], Json]
        if name == "overview":
            page = await self.run(partial(Page.of, partial(overview, view, parse_query(query))))
            self.demand.request([row["tube"] for row in page.data["tubes"]], view.now)
            return page
        if name == "tube":
            tube, server = check_tube_name(query.get("name", "")), query.get("server", "")
            state = view.state(server)
            if state is None:
                raise RequestError(f"no beanstalkd named {server[:63]!r} is configured", 404)
            self.demand.request([tube], view.now)
            compute = partial(tube_page, view, state, tube, store)
        elif name == "autoscalers":
            compute = lambda: {**store.to_json(view.now.unix_s), "servers": servers_json(view)}  # noqa: E731
        elif name == "autoscaler":
            autoscaler = ObjectName(query.get("namespace", ""), query.get("name", ""))
            target, found = parse_target(query.get("target", "")), store.find(autoscaler)
            if found is None or self.autoscalers is None:
                raise RequestError(
                    f"autoscalers can't be read: {store.error}"
                    if store.error is not None
                    else f"no HorizontalPodAutoscaler {str(autoscaler)[:300]!r} uses an external metric; a new one is"
                    " shown after a few seconds",
                    404,
                )
            collected = await self.autoscalers.collect(found)
            cluster_now_s = self.autoscalers.cluster_now_s
            compute = lambda: {  # noqa: E731
                "now": round(view.now.unix_s, 3),
                "document": report_json(make_report(collected, cluster_now_s)),
                "series": store.series(autoscaler),
                "servers": servers_json(view),
                "cluster": store.cluster_json(view.now.unix_s),
                "metricMissing": any(isinstance(each, Missing) for each in collected.autoscalers[0].observed),
                "whatIf": what_if(collected, target, cluster_now_s),
                "loadTest": self.load_test(autoscaler),
                "events": view.events.of(None, None, [autoscaler], view.now.unix_s, store.events([autoscaler])),
            }
        else:
            raise RequestError(f"there is no page {name[:40]!r}; pages: overview, tube, autoscalers, autoscaler")
        return await self.run(partial(Page.of, compute))
