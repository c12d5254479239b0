"""An HPA's Events: the newest first, whoever wrote them."""

import time
from datetime import UTC, datetime

import pytest

from app.explain.events import MAX_EVENTS, HpaEvents, list_events
from app.hpa.autoscaler import parse_hpa
from tests.unit.explain.cluster import EVENTS, Cluster, event
from tests.unit.hpa.hpas import Json, hpa

NOW_S = float(int(time.time()))


def at(ago_s: float) -> str:
    return datetime.fromtimestamp(NOW_S - ago_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def read(answers: dict[tuple[str, str], Json | int]) -> HpaEvents:
    return list_events(Cluster(answers), parse_hpa(hpa()))


def listed(*events: Json, more: str = "") -> Json:
    return {"items": list(events), "metadata": {"continue": more} if more else {}}


@pytest.mark.parametrize(
    ("fields", "ago_s"),
    [
        pytest.param({"lastTimestamp": at(30), "firstTimestamp": at(90)}, 30, id="client-go's older recorder"),
        pytest.param({"lastTimestamp": None, "eventTime": at(20).replace("Z", ".000000Z")}, 20, id="events.k8s.io"),
        pytest.param(
            {"eventTime": at(50), "series": {"count": 3, "lastObservedTime": at(10)}},
            10,
            id="a series of events.k8s.io",
        ),
        pytest.param({"lastTimestamp": None}, 100, id="without any: when it was created"),
        pytest.param({"lastTimestamp": "9999-12-31T23:59:59Z"}, 100, id="in the future"),
        pytest.param({"lastTimestamp": "0000-01-01T00:00:00Z"}, 100, id="in the year 0"),
    ],
)
def test_the_time_is_that_of_the_last_occurrence(fields: Json, ago_s: float) -> None:
    (one,) = read({(EVENTS, ""): listed(event("Scaled", "x", created=at(100)) | fields)}).events
    assert one.at_s == NOW_S - ago_s


def test_the_newest_of_all_pages_come_first() -> None:
    """kube-apiserver sorts by name."""
    first = [event("Old", str(number), created=at(1000 + number)) for number in range(MAX_EVENTS)]
    last = [
        event("Newer", "b", created=at(20)),
        event("Newest", "a", created=at(10)),
        event("Older", "c", created=at(30)),
    ]
    known = read({(EVENTS, ""): listed(*first, more="next"), (EVENTS, "next"): listed(*last)})
    assert [one.reason for one in known.events[:4]] == ["Newest", "Newer", "Older", "Old"]
    assert (len(known.events), known.error) == (MAX_EVENTS, "")


def test_reading_ends_after_some_pages() -> None:
    cluster = Cluster({(EVENTS, ""): listed(event("Scaled", "x"), more="on"), (EVENTS, "on"): listed(more="on")})
    known = list_events(cluster, parse_hpa(hpa()))
    assert len(cluster.asked) == 5
    assert len(known.events) == 1
    assert known.error == "it has very many Events; some of the newest may be missing here"


def test_only_the_events_of_this_autoscaler_are_listed() -> None:
    cluster = Cluster({})
    list_events(cluster, parse_hpa(hpa()))
    assert cluster.field_selectors == [
        "involvedObject.kind=HorizontalPodAutoscaler,involvedObject.name=orders,involvedObject.uid=uid-of-orders"
    ]


def test_the_text_of_others_is_bounded_and_on_one_line() -> None:
    hostile = event("R" * 5000, "\x1b[2Jx\n\u202e" + "y" * 5000, component="\x07c" * 500) | {"count": -1}
    (one,) = read({(EVENTS, ""): listed(hostile)}).events
    assert one.message.startswith("?[2Jx ?y")
    assert (len(one.message), len(one.reason), len(one.component), one.times) == (501, 61, 61, 1)
    assert (one.message + one.reason + one.component).isprintable()


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (403, "its Events can't be read: this account must be allowed to list events in namespace shop"),
        (500, f"its Events can't be read: https://k answered GET {EVENTS} with 500: no"),
    ],
)
def test_what_cant_be_read_is_one_sentence(status: int, error: str) -> None:
    known = read({(EVENTS, ""): status})
    assert (known.events, known.error.partition("; general advice")[0]) == ((), error)
