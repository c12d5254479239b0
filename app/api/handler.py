"""What each path answers, for who may ask: metrics, discovery, probes and our own figures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from starlette.responses import Response

from app.api import discovery
from app.api.probes import Probe
from app.api.request_info import RequestInfo
from app.api.status import json_response, method_not_allowed, not_found
from app.api.telemetry import Telemetry
from app.api.values import list_values
from app.metrics.evaluation import Evaluation, metric_names

_READ_ONLY = frozenset({"GET", "HEAD"})


@dataclass(frozen=True)
class Handler:
    """All that is served."""

    livez: Probe
    readyz: Probe
    telemetry: Telemetry
    evaluation: Callable[[], Evaluation]
    """What is known now."""
    version: Mapping[str, str]

    async def handle(self, info: RequestInfo, query: bytes) -> Response:
        """Answer what was authorised. Raises StatusError."""
        if info.resource:
            return await self._metric(info, query)
        path = info.path.rstrip("/")
        for probe in (self.livez, self.readyz):
            if path == probe.path or path.startswith(probe.path + "/"):
                return probe.answer(path, query)
        answer = self._documents().get(path)
        if answer is None:
            raise not_found()
        if info.method not in _READ_ONLY:
            raise method_not_allowed()
        return answer()

    async def _metric(self, info: RequestInfo, query: bytes) -> Response:
        is_metric = (
            (info.group, info.version) == (discovery.GROUP, discovery.VERSION) and info.namespace and not info.name
        )
        if not is_metric:
            raise not_found()
        if info.method != "GET":
            raise method_not_allowed()
        return await list_values(info.resource, query, self.evaluation())

    def _documents(self) -> Mapping[str, Callable[[], Response]]:
        return {
            "/apis": discovery.group_list,
            f"/apis/{discovery.GROUP}": discovery.group,
            f"/apis/{discovery.GROUP_VERSION}": lambda: discovery.resource_list(
                metric_names(self.evaluation().snapshot)
            ),
            "/healthz": lambda: self.livez.answer(self.livez.path, b""),
            "/metrics": self.telemetry.answer,
            "/openapi/v2": lambda: discovery.openapi(self.version["gitVersion"]),
            "/version": lambda: json_response(self.version),
        }
