"""What each page shows, as JSON: served once, embedded in the page, or sent again and again by its feed."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from app.beanstalkd.demand import Demand
from app.beanstalkd.protocol import check_tube_name
from app.clock import Instant
from app.console.autoscalers import Watcher, explained, parse_target, what_if
from app.console.errors import RequestError
from app.console.overview import View, overview, parse_query
from app.console.tube import tube_page
from app.settings import ObjectName

SHARED_S = 0.5
"""Two pages that show the same within so long get one answer."""
_MOST_SHARED = 100

type Json = Mapping[str, Any]
type Given = Mapping[str, str]


class PageAnswers:
    """By page and query."""

    def __init__(
        self,
        view: Callable[[], View],
        demand: Demand,
        watcher: Watcher,
        clock: Callable[[], Instant],
        lab: Callable[[ObjectName], Json | None] = lambda _: None,
    ) -> None:
        self._view = view
        self._demand = demand
        self._watcher = watcher
        self._clock = clock
        self._lab = lab
        self._shared: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], tuple[float, Json]] = OrderedDict()
        self._pages: Mapping[str, Callable[[Given], Awaitable[Json]]] = {
            "overview": self._overview,
            "tube": self._tube,
            "autoscalers": self._autoscalers,
            "autoscaler": self._autoscaler,
        }

    async def of(self, page: str, given: Given) -> Json:
        """Raises RequestError."""
        make = self._pages.get(page)
        if make is None:
            raise RequestError(f"there is no page {page[:40]!r}; there is {', '.join(self._pages)}")
        key, now_s = (page, tuple(sorted(given.items()))), self._clock().monotonic_s
        shared = self._shared.get(key)
        if shared is not None and now_s - shared[0] < SHARED_S:
            return shared[1]
        answer = await make(given)
        self._shared[key] = now_s, answer
        self._shared.move_to_end(key)
        if len(self._shared) > _MOST_SHARED:
            self._shared.popitem(last=False)
        return answer

    async def _overview(self, given: Given) -> Json:
        query, view = parse_query(given), self._view()
        answer = overview(view, query)
        self._demand.want([each["tube"] for each in answer["tubes"]], view.now)
        return answer

    async def _tube(self, given: Given) -> Json:
        view, tube = self._view(), check_tube_name(given.get("name", ""))
        state = view.state(given.get("server", ""))
        if state is None:
            raise RequestError(f"the console knows no beanstalkd named {given.get('server', '')[:63]!r}", 404)
        self._demand.want([tube], view.now)
        return tube_page(view, state, tube, self._watcher.known)

    async def _autoscalers(self, _given: Given) -> Json:
        return self._watcher.known.listed(self._clock().unix_s)

    async def _autoscaler(self, given: Given) -> Json:
        name = ObjectName(given.get("namespace", ""), given.get("name", ""))
        target, judged = parse_target(given.get("target", "")), self._watcher.known.find(name)
        if judged is None:
            raise RequestError(self._not_found(name), 404)
        facts = await self._watcher.facts(judged)
        cluster_now_s = self._watcher.cluster_now_s
        now_s = self._clock().unix_s
        return {
            "now": round(now_s, 3),
            "document": explained(facts, cluster_now_s),
            "series": self._watcher.known.series(name),
            "whatIf": what_if(facts, target, cluster_now_s),
            "lab": self._lab(name),
            "events": self._view().events.of(None, None, [name], now_s),
        }

    def _not_found(self, name: ObjectName) -> str:
        why = self._watcher.known.why
        if why is not None:
            return f"the autoscalers aren't known: {why}"
        return (
            f"there is no autoscaler {str(name)[:300]!r} that goes by an external metric; one made just now shows"
            " after a few seconds"
        )
