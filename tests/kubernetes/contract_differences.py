"""Where beanscale answers otherwise than the recorded server, on purpose: in what, and why (design.md, "The wire")."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import yaml

from tests.kubernetes.contract import Answer, Case, deviations

PROTOBUF = "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True)
class Difference:
    """Requests that are answered otherwise."""

    what: str
    why: str
    applies: Callable[[Case], bool]
    content: Callable[[Any, Any], bool]
    """Given the recorded content and ours: whether ours differs in the way that is meant."""
    but: tuple[str, ...] = ()
    """What else may differ: `status`, or a header."""

    def explains(self, recorded: Answer, ours: Answer) -> bool:
        """Whether nothing differs beyond what is meant."""
        allowed = ("body", *self.but)
        rest = [line for line in deviations(recorded, ours) if not line.startswith(allowed)]
        return not rest and self.content(recorded.content, ours.content)


KNOWN = {"", "tube-default", "tube-jobs"}
"""Metrics that were there, and no metric."""


def path(case: Case) -> str:
    return case.path.partition("?")[0]


def accept(case: Case) -> str:
    return str(case.headers.get("Accept", ""))


def structured(content: Any) -> Any:
    """JSON as it is, YAML taken apart; of other text, nothing."""
    if isinstance(content, str):
        content = yaml.safe_load(content) if "kind: " in content else {}
    return content if isinstance(content, dict) else {}


def kind(case: Case) -> str:
    return str(structured(case.answer.content).get("kind", ""))


def metric(case: Case) -> str:
    """The metric that a recorded list, which is empty, was asked of."""
    if kind(case) != "ExternalMetricValueList" or structured(case.answer.content)["items"]:
        return ""
    return path(case).rstrip("/").rpartition("/")[2]


def without_protobuf(content: Any) -> Any:
    return json.loads(re.sub(rf", {PROTOBUF}(;stream=watch)?", "", json.dumps(content)))


def is_refused(code: int, reason: str, words: str) -> Callable[[Any, Any], bool]:
    return lambda _, ours: (
        (ours["kind"], ours["code"], ours["reason"]) == ("Status", code, reason)
        and bool(re.match(words, ours["message"]))
    )


def has_all_fields(recorded: Any, ours: Any) -> bool:
    """Of version.Info; those that stay out where they are empty may."""
    optional = {"emulationMajor", "emulationMinor", "minCompatibilityMajor", "minCompatibilityMinor"}
    return recorded.keys() - optional == ours.keys() and all(isinstance(value, str) for value in ours.values())


def names_more(recorded: Any, ours: Any) -> bool:
    """All recorded resources and the built-in ones, all of them alike but for their names."""
    recorded, ours = structured(recorded), structured(ours)
    names = {resource["name"] for resource in ours["resources"]}
    ours_named_alike = {json.dumps(resource | {"name": ""}) for resource in ours["resources"]}
    recorded_named_alike = {json.dumps(resource | {"name": ""}) for resource in recorded["resources"]}
    wanted = {resource["name"] for resource in recorded["resources"]} | {"beanstalkd_tube_jobs"}
    return ours | {"resources": recorded["resources"]} == recorded and (
        wanted <= names and ours_named_alike == recorded_named_alike
    )


def names_ours(recorded: Any, ours: Any) -> bool:
    recorded, ours = structured(recorded), structured(ours)
    return ours | {"items": []} == recorded and bool(ours["items"][0]["versions"][0]["resources"])


def has_other_checks(recorded: Any, ours: Any) -> bool:
    """Each on a line of its own, between the same beginning and end."""
    return all(re.fullmatch(r"(\[\+\]\S+ ok\n)+[a-z]+ check passed\n", text) for text in (recorded, ours))


DIFFERENCES = (
    Difference(
        "a table where one is asked for",
        "it is what kubectl shows to people",
        lambda case: "as=Table" in accept(case) and path(case).endswith("/tube-jobs") and case.method == "GET",
        lambda _, ours: "columnDefinitions" in ours,
        but=("status", "content-type"),
    ),
    Difference(
        "aggregated discovery in its older version too",
        "Kubernetes up to 1.29 asks for it, and this is how kubectl finds our metrics there",
        lambda case: "v=v2beta1" in accept(case) and path(case).rstrip("/") == "/apis",
        lambda _, ours: ours["apiVersion"] == "apidiscovery.k8s.io/v2beta1",
        but=("status", "content-type", "cache-control", "vary", "etag"),
    ),
    Difference(
        "a path whose verb has no resource is like any other that isn't there",
        "what a stranger asks is never an internal error of ours",
        lambda case: case.answer.status == 500 and "failed to create RequestInfo" in str(case.answer.content),
        lambda _, ours: ours["code"] in {403, 404, 405},
        but=("status", "content-type", "cache-control", "x-content-type-options"),
    ),
    Difference(
        "a timeout is never too short for us",
        "an answer that is there can be given",
        lambda case: case.answer.status == 504,
        lambda _, ours: ours["kind"] == "ExternalMetricValueList",
        but=("status", "content-type"),
    ),
    Difference(
        "/healthz and its like have other checks",
        "they are about what runs here",
        lambda case: bool(re.fullmatch("/(health|live|ready)z", path(case))) and "verbose" in case.path,
        has_other_checks,
    ),
    Difference(
        "OpenAPI v3 describes our group, and nothing that is kube-apiserver's",
        "kube-apiserver takes over what we describe",
        lambda case: path(case).startswith("/openapi/v3") and case.answer.status == 200 and case.answer.content != "",
        lambda _, ours: "paths" in ours,
    ),
    Difference(
        "`/`, and what isn't there, lists our own paths",
        "the health checks, and what there is for debugging, are each server's own",
        lambda case: isinstance(case.answer.content, dict) and case.answer.content.keys() == {"paths"},
        lambda _, ours: (
            {"/apis", "/openapi/v2", "/readyz", "/version"} <= set(ours["paths"]) == {*sorted(ours["paths"])}
        ),
    ),
    Difference(
        "discovery names the built-in metrics too",
        "so that kubectl shows them",
        lambda case: kind(case) == "APIResourceList",
        names_more,
    ),
    Difference(
        "aggregated discovery has our group",
        "the recorded server's is empty, whence kubectl shows none of its metrics",
        lambda case: kind(case) == "APIGroupDiscoveryList",
        names_ours,
    ),
    Difference(
        "/version is our own",
        "it says what runs here, and we aren't built on a release of Kubernetes",
        lambda case: bool(re.fullmatch("/version/*", path(case))) and case.answer.status == 200,
        has_all_fields,
    ),
    Difference(
        "OpenAPI describes the metrics, and nothing that is kube-apiserver's",
        "kube-apiserver takes over what we describe",
        lambda case: path(case) == "/openapi/v2" and case.answer.status == 200,
        lambda _, ours: (
            {path.partition("/v1beta1/")[2] for path in ours["paths"]} == {"", "namespaces/{namespace}/{resource}"}
        ),
    ),
    Difference(
        "/metrics has our own figures",
        "it is about what runs here",
        lambda case: path(case) == "/metrics" and case.method == "GET" and case.answer.status == 200,
        lambda _, ours: "beanscale_beanstalkd_up" in ours,
    ),
    Difference(
        "JSON where protobuf is liked better",
        "all of Kubernetes' clients that like protobuf better take JSON too, and no metric value is long",
        lambda case: case.answer.headers.get("content-type") == PROTOBUF and "json" in accept(case),
        lambda _, ours: ours["kind"] in {"ExternalMetricValueList", "APIResourceList", "Status"},
        but=("content-type",),
    ),
    Difference(
        "406 where only protobuf is taken",
        "none of Kubernetes' clients sends that",
        lambda case: case.answer.headers.get("content-type") == PROTOBUF,
        is_refused(406, "NotAcceptable", "406: Not Acceptable\n\nAvailable representations: application/json"),
        but=("content-type", "status"),
    ),
    Difference(
        "406 names what there is",
        "protobuf isn't",
        lambda case: case.answer.status == 406 and PROTOBUF in json.dumps(case.answer.content),
        lambda recorded, ours: without_protobuf(recorded) == ours,
    ),
    Difference(
        "406 for the metadata of metric values, which have none, or what else is accepted",
        "what a stranger asks is never an internal error of ours",
        lambda case: case.answer.status == 500 and "PartialObjectMetadata" in accept(case),
        lambda recorded, ours: (
            structured(ours)["kind"] == "ExternalMetricValueList"
            or is_refused(406, "NotAcceptable", "only the following media types are accepted: ")(recorded, ours)
        ),
        but=("status", "content-type"),
    ),
    Difference(
        "a tube that isn't there holds 0 jobs, in whatever case its name is written",
        "beanstalkd forgets an empty tube, and scale-in needs its 0; client-go asks in lower case",
        lambda case: bool(re.fullmatch("tube-[-a-z0-9]+", metric(case).lower())) and metric(case) not in KNOWN,
        lambda recorded, ours: [item["value"] for item in ours["items"]] == ["0"] and ours | {"items": []} == recorded,
    ),
    Difference(
        "404 for a metric that isn't there, with what there is",
        'an empty list becomes "no metrics returned" in the autoscaler\'s status, which helps nobody',
        lambda case: metric(case) not in KNOWN,
        is_refused(404, "NotFound", "there is no metric .*; (there is|did you mean) "),
        but=("status",),
    ),
)
