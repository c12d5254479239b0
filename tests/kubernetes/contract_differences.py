"""Where beanscale answers otherwise than the recorded server, on purpose: in what, and why (design.md, "The wire")."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


def kind(case: Case) -> str:
    content = case.answer.content
    return str(content.get("kind", "")) if isinstance(content, dict) else ""


def metric(case: Case) -> str:
    """The metric that a recorded list, which is empty, was asked of."""
    if kind(case) != "ExternalMetricValueList" or case.answer.content["items"]:
        return ""
    return case.path.partition("?")[0].rstrip("/").rpartition("/")[2]


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
    names = {resource["name"] for resource in ours["resources"]}
    ours_named_alike = {json.dumps(resource | {"name": ""}) for resource in ours["resources"]}
    recorded_named_alike = {json.dumps(resource | {"name": ""}) for resource in recorded["resources"]}
    wanted = {resource["name"] for resource in recorded["resources"]} | {"beanstalkd_tube_jobs"}
    return ours | {"resources": recorded["resources"]} == recorded and (
        wanted <= names and ours_named_alike == recorded_named_alike
    )


DIFFERENCES = (
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
        lambda recorded, ours: (
            ours | {"items": []} == recorded | {"items": []} and len(ours["items"][0]["versions"][0]["resources"]) > 0
        ),
    ),
    Difference(
        "/version is our own",
        "it says what runs here, and we aren't built on a release of Kubernetes",
        lambda case: bool(re.fullmatch("/version/*", case.path)) and case.answer.status == 200,
        has_all_fields,
    ),
    Difference(
        "OpenAPI describes the metrics, and nothing that is kube-apiserver's",
        "kube-apiserver takes over what we describe",
        lambda case: case.path.startswith("/openapi/v2") and case.answer.status == 200,
        lambda _, ours: (
            {path.partition("/v1beta1/")[2] for path in ours["paths"]} == {"", "namespaces/{namespace}/{resource}"}
        ),
    ),
    Difference(
        "/metrics has our own figures",
        "it is about what runs here",
        lambda case: case.path == "/metrics" and case.answer.status == 200,
        lambda _, ours: "beanscale_beanstalkd_up" in ours,
    ),
    Difference(
        "JSON where protobuf is liked better",
        "all of Kubernetes' clients that like protobuf better take JSON too, and no metric value is long",
        lambda case: case.answer.headers.get("content-type") == PROTOBUF and "json" in case.headers["Accept"],
        lambda _, ours: ours["kind"] in {"ExternalMetricValueList", "APIResourceList"},
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
        "406 for the metadata of metric values, which have none",
        "what a stranger asks is never an internal error of ours",
        lambda case: case.answer.status == 500 and "PartialObjectMetadata" in case.headers.get("Accept", ""),
        is_refused(406, "NotAcceptable", "only the following media types are accepted: application/json"),
        but=("status",),
    ),
    Difference(
        "a tube that isn't there holds 0 jobs, in whatever case its name is written",
        "beanstalkd forgets an empty tube, and scale-in needs its 0; client-go asks in lower case",
        lambda case: bool(re.fullmatch("tube-[-a-z0-9]+", metric(case).lower())) and metric(case) != "tube-default",
        lambda recorded, ours: [item["value"] for item in ours["items"]] == ["0"] and ours | {"items": []} == recorded,
    ),
    Difference(
        "404 for a metric that isn't there, with what there is",
        'an empty list becomes "no metrics returned" in the autoscaler\'s status, which helps nobody',
        lambda case: metric(case) not in {"", "tube-default"},
        is_refused(404, "NotFound", "there is no metric .*; (there is|did you mean) "),
        but=("status",),
    ),
)
