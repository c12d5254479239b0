"""The form of an answer follows Accept as Kubernetes' servers understand it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.negotiation import (
    JSON,
    MEDIA_TYPES,
    MOST_CLAUSES,
    YAML,
    Form,
    Kind,
    Offer,
    Wishes,
    check_content_type,
    check_route,
    clauses,
    negotiated,
)
from app.api.status import StatusError

TABLE = Kind("Table", "meta.k8s.io", "v1")
TABLES = Offer(frozenset({None, TABLE}), server_version="v1")


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form(JSON)),
        ("*/*", Form(JSON)),
        ("*", Form(JSON)),
        ("application/*", Form(JSON)),
        ("application/vnd.kubernetes.protobuf, */*", Form(JSON)),
        ("application/vnd.kubernetes.protobuf,application/json;q=0.5", Form(JSON)),
        ("application/json;q=0.1,application/yaml;q=0.2", Form(YAML)),
        ("application/xml;q=0.9,*/*;q=0.8", Form(JSON)),
        ("application/yaml;as=Table;v=v1;g=meta.k8s.io", Form(YAML, TABLE)),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io",
            Form(JSON, TABLE),
        ),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json", Form(JSON)),
        ("application/json;pretty=1", Form(JSON, pretty=True)),
        ("application/json;sv=v1", Form(JSON)),
        ("application/json;sv=v2", None),
        ("application/json;stream=watch", Form(JSON)),
        ("application/yaml;stream=watch", None),
        ("application/json;as=Table", None),
        ("application/json; charset=utf-8", Form(JSON)),
        ("application/vnd.kubernetes.protobuf", None),
        ("image/png", None),
        ("json", None),
        ("application/json/x", None),
        (",;=,", None),
    ],
)
def test_what_is_wanted_most_and_can_be_had(accept: str, form: Form | None) -> None:
    assert negotiated(accept, TABLES) == form


def test_wildcards_come_last_even_after_what_is_liked_less() -> None:
    wanted = clauses("*/*,a/b;q=0.5,c/*,d/e")
    assert [f"{clause.type}/{clause.subtype}" for clause in wanted] == ["d/e", "c/*", "a/b", "*/*"]


def test_of_an_endless_list_the_beginning_counts() -> None:
    assert negotiated("image/png," * (MOST_CLAUSES - 1) + YAML) == Form(YAML)
    assert negotiated("image/png," * MOST_CLAUSES + YAML) is None


@given(st.text(alphabet="ab*/;=,q01. ", max_size=300) | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_accept_is_understood_somehow(accept: str) -> None:
    negotiated(accept, TABLES)
    clauses(accept)


def test_a_route_is_chosen_by_the_letter() -> None:
    """go-restful knows `*/*`, and no other wildcard."""
    check_route("image/png, application/yaml;q=0", MEDIA_TYPES)
    with pytest.raises(StatusError) as error:
        check_route("application/*", MEDIA_TYPES)
    assert str(error.value) == ("406: Not Acceptable\n\nAvailable representations: application/json, application/yaml")


def test_a_body_of_an_unknown_type_is_refused_even_if_there_is_none() -> None:
    check_content_type("", (JSON,))
    check_content_type("application/json; charset=utf-8", (JSON,))
    with pytest.raises(StatusError, match="415: Unsupported Media Type"):
        check_content_type("text/plain", (JSON,))


@pytest.mark.parametrize(
    ("query", "agent", "wanted"),
    [
        (b"", b"kubectl/v1.36", False),
        (b"", b"curl/8", True),
        (b"pretty=0", b"curl/8", False),
        (b"pretty=true", b"", True),
        (b"pretty=yes", b"", False),
        (b"pretty=", b"curl/8", True),
    ],
)
def test_people_get_line_breaks(query: bytes, agent: bytes, wanted: bool) -> None:
    assert Wishes.of(query, [(b"user-agent", agent)]).line_breaks is wanted


def test_of_a_header_that_comes_twice_the_first_counts() -> None:
    assert Wishes.of(b"", [(b"accept", b"a/b"), (b"accept", b"c/d")]).header(b"accept") == "a/b"
