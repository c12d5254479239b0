"""Where beanscale's response differs from the recorded server's on purpose: in what, and why (design.md)."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from tests.kubernetes.contract import Answer, Case, items, structured

PROTOBUF = "application/vnd.kubernetes.protobuf"


@dataclass(frozen=True)
class Difference:
    """Requests that get another response."""

    what: str
    why: str
    applies: Callable[[Case], bool]
    explains: Callable[[Answer], bool]
    """Returns whether our response is the intended one."""


def path(case: Case) -> str:
    return case.path.partition("?")[0]


def accept(case: Case) -> str:
    return str(case.headers.get("Accept", ""))


def metric(case: Case) -> str:
    """The metric of a recorded list without items."""
    return path(case).rstrip("/").rpartition("/")[2] if items(case.answer.content) == [] else ""


def ends(code: int, reason: str | None = None) -> Callable[[Answer], bool]:
    """Whether our response has a status code, and a Status with this reason if one is given."""
    return lambda ours: (
        ours.status == code and (reason is None or not ours.content or structured(ours.content).get("reason") == reason)
    )


KNOWN = {"", "tube-default", "tube-jobs"}
"""Metrics that were there, and no metric."""

DIFFERENCES = (
    Difference(
        "a request line or head above the fixed limits is 414 or 431",
        "the limits of design.md bound what a client can make the server hold; Kubernetes' own clients stay far below",
        lambda case: len(case.path) > 16_384 or len(str(case.headers)) > 32_768,
        lambda ours: ours.status in {414, 431},
    ),
    Difference(
        "417 says why",
        "as all other responses to what isn't HTTP",
        lambda case: case.answer.status == 417,
        ends(417),
    ),
    Difference(
        "impersonation is rejected",
        "kube-apiserver handles it; ignoring it would grant more than the client meant to use",
        lambda case: (
            case.answer.status != 401 and any(name.lower().startswith("impersonate-") for name in case.headers)
        ),
        ends(403, "Forbidden"),
    ),
    Difference(
        "a Table where one is requested",
        "it is what kubectl shows to people",
        lambda case: "as=Table" in accept(case) and path(case).endswith("/tube-jobs") and case.method == "GET",
        lambda ours: ours.status == 200 and structured(ours.content)["kind"] == "Table",
    ),
    Difference(
        "/version is always JSON",
        "all clients parse it as JSON",
        lambda case: path(case).rstrip("/") == "/version" and case.answer.status == 406,
        ends(200),
    ),
    Difference(
        "no protobuf: JSON where it is accepted too, else 406",
        "all of Kubernetes' clients that prefer protobuf accept JSON too, and no list of values is long",
        lambda case: PROTOBUF in accept(case),
        lambda ours: ours.status in {200, 406} or structured(ours.content)["kind"] == "Status",
    ),
    Difference(
        "406 for the metadata of metric values, which have none, or another type that is accepted",
        "a client's request is never an internal error",
        lambda case: case.answer.status == 500 and "PartialObjectMetadata" in accept(case),
        lambda ours: ours.status in {200, 406},
    ),
    Difference(
        "a verb in the path is part of a path that isn't there",
        "no client sends it, and a client's request is never an internal error",
        lambda case: bool(re.search("/(proxy|watch)(/|$)", path(case))),
        lambda ours: ours.status in {403, 404, 405},
    ),
    Difference(
        "a path without a namespace isn't there",
        "Kubernetes' own clients don't send it, and no namespace is no scope for a metric",
        lambda case: "/namespaces//" in path(case),
        ends(404, "NotFound"),
    ),
    Difference(
        "options that don't change the values aren't checked",
        "a list is complete and current whatever they say, and no client sends wrong ones",
        lambda case: (
            case.answer.status in {400, 422, 504}
            and bool(re.search("[?&](timeout|resourceVersionMatch|sendInitialEvents)=", case.path))
        ),
        ends(200),
    ),
    Difference(
        "the type of a body that isn't there isn't checked",
        "no endpoint reads a body",
        lambda case: case.answer.status == 415,
        ends(200),
    ),
    Difference(
        "the most specific media range comes first",
        "RFC 9110, 12.5.1; the recorded server's order follows from its sorting algorithm",
        lambda case: "*/*;g=apidiscovery" in accept(case),
        ends(200),
    ),
    Difference(
        "an OpenAPI document that isn't there is 404",
        "as any other path",
        lambda case: path(case).startswith("/openapi/v3/") and case.answer.content == "",
        lambda ours: ours.status in {400, 404},
    ),
    Difference(
        "OpenAPI documents come as a whole, with an ETag and If-None-Match",
        "kube-apiserver, the only client, uses nothing else",
        lambda case: (
            path(case).startswith("/openapi/")
            and not {"Range", "If-Match", "If-Modified-Since"}.isdisjoint(case.headers)
        ),
        ends(200),
    ),
    Difference(
        "a field selector is rejected",
        "kube-apiserver authorizes the name in it, and the recorded server returns all values nevertheless",
        lambda case: bool(re.search("[?&]fieldSelector=[^&]", case.path)) and case.answer.status == 200,
        ends(400, "BadRequest"),
    ),
    Difference(
        "a tube that isn't there has 0 jobs, in whatever case its name is written",
        "beanstalkd forgets an empty tube, and scaling in needs its 0; client-go requests metrics in lower case",
        lambda case: bool(re.fullmatch("tube-[-a-z0-9]+", metric(case).lower())) and metric(case) not in KNOWN,
        lambda ours: ours.status == 200 and [value for _, _, value in items(ours.content) or ()] == ["0"],
    ),
    Difference(
        "404 for a metric that isn't there, with what there is",
        'an empty list becomes "no metrics returned" in the HPA\'s conditions, which has no cause',
        lambda case: metric(case) not in KNOWN,
        ends(404, "NotFound"),
    ),
)
