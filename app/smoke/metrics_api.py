"""The checks of the external metrics API: it is registered, discovery lists it, and metrics have the expected value."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from app.kube.checks import CheckFailedError, ask, check_available
from app.kube.client import Kubernetes
from app.settings import ObjectName
from app.text import count

_APISERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


@dataclass(frozen=True, slots=True)
class MetricsApi:
    """How kube-apiserver reaches the server."""

    kubernetes: Kubernetes
    apiservice: str
    """VERSION.GROUP."""
    service: ObjectName
    """The Service of `beanscale serve`."""

    def check_api_service(self) -> str:
        """Check that the APIService points to the Service, is verified and Available. Raise CheckFailedError."""
        hints = {
            403: _grant(f"get apiservices.apiregistration.k8s.io {self.apiservice}"),
            404: "install the chart with apiService.create=true",
            None: "check that kube-apiserver is healthy: kubectl get --raw /readyz?verbose",
        }
        found = ask(self.kubernetes, f"{_APISERVICES}/{self.apiservice}", hints)
        check_spec(found, self.service)
        check_available(found, self.service)
        return f"{self.apiservice} points to {self.service} over verified TLS and is Available"

    def check_discovery(self) -> str:
        """Check that kube-apiserver lists the metrics. Raise CheckFailedError."""
        listed = ask(self.kubernetes, self._path, self._hints("resources")).get("resources")
        if not listed:
            raise CheckFailedError(
                f"{self._path} lists no metric, which is an error for every client of the cluster", self._log_hint
            )
        return f"{self._path} lists {count(len(listed), 'metric')}"

    def check_value(self, metric: str, jobs: int, selector: str = "") -> str:
        """Check that the sum of the values of `metric` is `jobs`. Raise CheckFailedError."""
        path = f"{self._path}/namespaces/{self.service.namespace}/{metric}"
        query = {"labelSelector": selector} if selector else None
        items = ask(self.kubernetes, path, self._hints(metric), query).get("items") or []
        shown = f"{metric}{{{selector}}}" if selector else metric
        parts, total = [], 0
        for item in items:
            value, server = str(item.get("value")), (item.get("metricLabels") or {}).get("server")
            if not value.isdecimal():
                raise CheckFailedError(
                    f"{shown} has the value {value!r}, which isn't a number of jobs",
                    "check that the APIService is beanscale's: kubectl get apiservices",
                    final=True,
                )
            total += int(value)
            parts.append(f"{value} ({server})" if server else value)
        if not items or total != jobs:
            raise CheckFailedError(
                f"{shown} is {' + '.join(parts) or 'without any value'}, not {jobs}",
                "check that the server reads this beanstalkd, and that no worker takes these jobs:"
                f" kubectl -n {self.service.namespace} get deployment {self.service.name} -o yaml | grep beanstalkd=",
            )
        return f"{shown} is {jobs}"

    @property
    def _path(self) -> str:
        version, _, group = self.apiservice.partition(".")
        return f"/apis/{group}/{version}"

    @property
    def _log_hint(self) -> str:
        return f"check the server's log: kubectl -n {self.service.namespace} logs deployment/{self.service.name}"

    def _hints(self, resource: str) -> Mapping[int | None, str]:
        return {403: _grant(f"get and list {resource} of external.metrics.k8s.io"), None: self._log_hint}


def _grant(what: str) -> str:
    return f"allow this account to {what}: the chart's ClusterRoleBinding NAMESPACE:RELEASE:smoke does"


def check_spec(apiservice: Mapping[str, Any], service: ObjectName) -> None:
    """Check that the APIService points to `service`, and that TLS is verified. Raise CheckFailedError."""
    spec = apiservice.get("spec") or {}
    name = (apiservice.get("metadata") or {}).get("name", "the APIService")
    target = spec.get("service") or {}
    points_to = f"{target.get('namespace')}/{target.get('name')}" if target else "kube-apiserver itself"
    if points_to != str(service):
        raise CheckFailedError(
            f"APIService {name} points to {points_to}, not to Service {service}",
            "another adapter serves these metrics: uninstall it, or install only one release (helm list -A)",
            final=True,
        )
    if spec.get("insecureSkipTLSVerify"):
        raise CheckFailedError(
            f"APIService {name} has insecureSkipTLSVerify, so kube-apiserver doesn't verify the server",
            f"""kubectl patch apiservice {name} --type=merge -p '{{"spec":{{"insecureSkipTLSVerify":null}}}}'""",
            final=True,
        )
    if not spec.get("caBundle"):
        raise CheckFailedError(
            f"APIService {name} has no caBundle: the server has not published its CA",
            f"check its log: kubectl -n {service.namespace} logs deployment/{service.name};"
            " the chart's ClusterRoleBinding NAMESPACE:RELEASE:apiservice allows it to",
        )
