"""The links through kube-apiserver: the APIService leads to us, discovery lists us, metrics have the right value."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from app.kube.checks import CheckFailedError, ask, check_available
from app.kube.client import Kubernetes
from app.settings import ObjectName

_APISERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"


@dataclass(frozen=True, slots=True)
class Aggregation:
    """How kube-apiserver reaches the server."""

    kubernetes: Kubernetes
    apiservice: str
    """VERSION.GROUP."""
    service: ObjectName
    """The Service that it must lead to."""

    @property
    def _group_version(self) -> str:
        version, _, group = self.apiservice.partition(".")
        return f"/apis/{group}/{version}"

    @property
    def _server_log(self) -> str:
        return f"kubectl -n {self.service.namespace} logs deployment/{self.service.name}"

    def leads_to_us(self) -> str:
        """The APIService is ours, verified and Available. Raises CheckFailedError."""
        fixes = {
            403: _grant(f"get apiservices.apiregistration.k8s.io {self.apiservice}"),
            404: "install the chart with apiService.create=true",
            None: "does kube-apiserver run? kubectl get --raw /readyz?verbose",
        }
        found = ask(self.kubernetes, f"{_APISERVICES}/{self.apiservice}", fixes)
        check_spec(found, self.service)
        check_available(found, self.service)
        return f"{self.apiservice} leads to {self.service} over verified TLS and is Available"

    def is_discovered(self) -> str:
        """kube-apiserver lists our metrics. Raises CheckFailedError."""
        listed = ask(self.kubernetes, self._group_version, self._fixes("resources")).get("resources")
        if not listed:
            raise CheckFailedError(
                f"{self._group_version} lists no metric, which makes every client of the cluster complain",
                f"the server's log says more: {self._server_log}",
            )
        return f"{self._group_version} lists {len(listed)} metric{'s' if len(listed) > 1 else ''}"

    def counts(self, metric: str, jobs: int, selector: str = "") -> str:
        """The values of `metric` sum up to `jobs`. Raises CheckFailedError."""
        path = f"{self._group_version}/namespaces/{self.service.namespace}/{metric}"
        query = {"labelSelector": selector} if selector else None
        items = ask(self.kubernetes, path, self._fixes(metric), query).get("items") or []
        shown = f"{metric}{{{selector}}}" if selector else metric
        counted = _sum(items, shown)
        if not items or counted != jobs:
            raise CheckFailedError(
                f"{shown} is {_itemised(items)}, not {jobs}",
                "does the server read the same beanstalkd as we do, and nobody takes our jobs?"
                f" kubectl -n {self.service.namespace} get deployment {self.service.name} -o yaml | grep beanstalkd=",
            )
        return f"{shown} is {jobs}"

    def _fixes(self, resource: str) -> Mapping[int | None, str]:
        return {
            403: _grant(f"get and list {resource} of external.metrics.k8s.io"),
            None: f"the server's log says more: {self._server_log}",
        }


def _grant(what: str) -> str:
    return f"this account must be allowed to {what}: in the chart by the ClusterRoleBinding NAMESPACE:RELEASE:smoke"


def _sum(items: Iterable[Mapping[str, Any]], metric: str) -> int:
    values = [str(item.get("value")) for item in items]
    strange = [value for value in values if not value.isdecimal()]
    if strange:
        raise CheckFailedError(
            f"{metric} has the value {strange[0]!r}, which is no number of jobs",
            "is it beanscale that answers? kubectl get apiservices",
            final=True,
        )
    return sum(map(int, values))


def _itemised(items: Iterable[Mapping[str, Any]]) -> str:
    """`3`, or by server: `2 (eu) + 1 (us)`."""
    parts = []
    for item in items:
        server = (item.get("metricLabels") or {}).get("server")
        parts.append(f"{item.get('value')} ({server})" if server else str(item.get("value")))
    return " + ".join(parts) or "without any value"


def check_spec(apiservice: Mapping[str, Any], service: ObjectName) -> None:
    """It leads to `service` and is to be verified. Raises CheckFailedError."""
    spec = apiservice.get("spec") or {}
    name = (apiservice.get("metadata") or {}).get("name", "the APIService")
    target = spec.get("service") or {}
    leads_to = f"{target.get('namespace')}/{target.get('name')}" if target else "kube-apiserver itself"
    if leads_to != str(service):
        raise CheckFailedError(
            f"APIService {name} leads to {leads_to}, not to our Service {service}",
            "another adapter serves these metrics: uninstall it, or install only one release (helm list -A)",
            final=True,
        )
    if spec.get("insecureSkipTLSVerify"):
        raise CheckFailedError(
            f"APIService {name} has insecureSkipTLSVerify: anybody in between could answer in our place",
            f"""kubectl patch apiservice {name} --type=merge -p '{{"spec":{{"insecureSkipTLSVerify":null}}}}'""",
            final=True,
        )
    if not spec.get("caBundle"):
        raise CheckFailedError(
            f"APIService {name} has no caBundle: the server hasn't put its CA there",
            f"its log says why: kubectl -n {service.namespace} logs deployment/{service.name};"
            " in the chart the ClusterRoleBinding NAMESPACE:RELEASE:apiservice allows it to",
        )
