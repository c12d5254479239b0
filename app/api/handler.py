"""What each path answers, for who may ask: metrics, discovery, descriptions, probes and our own figures.

Paths are told apart as in Kubernetes' servers: the API's own by their parts, however many slashes end them, and for one
method only; all others to the letter, and for any method. What there isn't is answered with what there is.
Sources: k8s.io/apiserver/pkg/server/handler.go and mux/pathrecorder.go.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from starlette.responses import Response

from app.api import discovery
from app.api.answers import compressed, raw_answer
from app.api.forwarding import Forwarding
from app.api.negotiation import JSON, MEDIA_TYPES, PROTOBUF, Wishes, check_content_type, check_route
from app.api.openapi import V2_PATH, V3_PATH, OpenApi
from app.api.probes import Probe
from app.api.request_info import RequestInfo
from app.api.status import method_not_allowed, not_found
from app.api.telemetry import Telemetry
from app.api.values import Values
from app.metrics.catalogue import metric_names
from app.metrics.question import Evaluation

_GROUP_PATH = f"/apis/{discovery.GROUP}"
_METRICS_PATH = f"{_GROUP_PATH}/{discovery.VERSION}/namespaces/"
_SLASHES_OF_METRIC = 6
"""In /apis/GROUP/VERSION/namespaces/NAMESPACE/METRIC."""


@dataclass(frozen=True)
class Handler:
    """All that is served."""

    livez: Probe
    readyz: Probe
    telemetry: Telemetry
    evaluation: Callable[[], Evaluation]
    """What is known now."""
    values: Values
    version: Mapping[str, str]
    port: int
    forwarding: Forwarding | None = None
    """Whom to ask for what isn't ours."""

    async def handle(self, info: RequestInfo, wishes: Wishes) -> Response:
        """Answer what was authorised. Raises StatusError."""
        if info.path.startswith(_METRICS_PATH) and info.path.rstrip("/").count("/") == _SLASHES_OF_METRIC:
            return await self._metric(info, wishes)
        if info.path in {"/apis", "/apis/"} or _is_below(info.path, _GROUP_PATH) or _is_below(info.path, "/version"):
            return self._api(info, wishes)
        return self._other(info.path, wishes)

    async def _metric(self, info: RequestInfo, wishes: Wishes) -> Response:
        if info.method != "GET":
            raise method_not_allowed()
        check_route(wishes.header(b"accept"), MEDIA_TYPES, streams=True)
        if self.forwarding is not None and self.forwarding.takes(info, wishes):
            return await self.forwarding.answer(info, wishes)
        return await self.values.answer(info, wishes, self.evaluation())

    def _api(self, info: RequestInfo, wishes: Wishes) -> Response:
        path = "/" + info.path.strip("/")
        answer = self._api_paths.get(path)
        if answer is None:
            raise not_found()
        if info.method != "GET":
            raise method_not_allowed()
        only_json = path == "/version"
        check_content_type(wishes.header(b"content-type"), (JSON,) if only_json else (*MEDIA_TYPES, PROTOBUF))
        check_route(wishes.header(b"accept"), (JSON,) if only_json else MEDIA_TYPES)
        return answer(wishes)

    def _other(self, path: str, wishes: Wishes) -> Response:
        answer = self._other_paths.get(path)
        if answer is not None:
            return answer(wishes)
        if path.startswith(V3_PATH + "/"):
            return self._openapi.group(path, wishes)
        return raw_answer({"paths": self._paths}, 200 if path in {"/", "/index.html"} else 404)

    @cached_property
    def _api_paths(self) -> Mapping[str, Callable[[Wishes], Response]]:
        return {
            "/apis": lambda wishes: discovery.groups(self._metric_names(), self.port, wishes),
            _GROUP_PATH: discovery.group,
            f"/apis/{discovery.GROUP_VERSION}": lambda wishes: discovery.resources(self._metric_names(), wishes),
            "/version": lambda _: raw_answer(self.version),
        }

    @cached_property
    def _other_paths(self) -> Mapping[str, Callable[[Wishes], Response]]:
        probes = {path: answer for probe in self._probes for path, answer in probe.paths.items()}
        return probes | {
            "/metrics": lambda wishes: compressed(self.telemetry.answer(), wishes),
            V2_PATH: self._openapi.everything,
            V3_PATH: self._openapi.groups,
        }

    @cached_property
    def _paths(self) -> list[str]:
        return sorted((*self._api_paths, *self._other_paths, f"{V3_PATH}/"))

    @cached_property
    def _probes(self) -> tuple[Probe, ...]:
        return Probe("/healthz", self.livez.checks), self.livez, self.readyz

    @cached_property
    def _openapi(self) -> OpenApi:
        return OpenApi(self.version["gitVersion"], self._metric_names)

    def _metric_names(self) -> list[str]:
        given = self.evaluation()
        forwarded = self.forwarding.names if self.forwarding is not None else ()
        return [*metric_names(given.snapshot, given.rules), *forwarded]


def _is_below(path: str, root: str) -> bool:
    return path == root or path.startswith(root + "/")
