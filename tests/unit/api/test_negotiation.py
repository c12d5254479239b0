"""The representation of a response follows Accept."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.api.negotiation import JSON, MAX_RANGES, YAML, Kind, Representation, negotiate
from app.api.status import StatusError

TABLE = Kind("Table", "meta.k8s.io", "v1")
TABLES = frozenset({TABLE})


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Representation(JSON)),
        ("*/*", Representation(JSON)),
        ("*", Representation(JSON)),
        ("application/*", Representation(JSON)),
        ("application/vnd.kubernetes.protobuf, */*", Representation(JSON)),
        ("application/vnd.kubernetes.protobuf,application/json;q=0.5", Representation(JSON)),
        ("application/json;q=0.1,application/yaml;q=0.2", Representation(YAML)),
        ("*/*;q=0.1,application/yaml;q=0.2", Representation(YAML)),
        ("*/*,application/yaml", Representation(YAML)),
        ("application/xml;q=0.9,*/*;q=0.8", Representation(JSON)),
        ("application/yaml;as=Table;v=v1;g=meta.k8s.io", Representation(YAML, TABLE)),
        (
            "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io",
            Representation(JSON, TABLE),
        ),
        ("application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json", Representation(JSON)),
        ("application/json;pretty=1", Representation(JSON)),
        ("application/json;stream=watch", Representation(JSON)),
        ("application/json; charset=utf-8", Representation(JSON)),
        ("application/json;as=Table", None),
        ("application/vnd.kubernetes.protobuf", None),
        ("image/png", None),
        ("json", None),
        ("application/json/x", None),
        (",;=,", None),
    ],
)
def test_what_is_preferred_and_available(accept: str, form: Representation | None) -> None:
    if form is not None:
        assert negotiate(accept, TABLES) == form
        return
    with pytest.raises(StatusError) as error:
        negotiate(accept, TABLES)
    assert error.value.code == 406
    assert str(error.value) == "only the following media types are available: application/json, application/yaml"


def test_only_the_beginning_of_a_very_long_list_is_parsed() -> None:
    assert negotiate("image/png," * (MAX_RANGES - 1) + YAML) == Representation(YAML)
    with pytest.raises(StatusError):
        negotiate("image/png," * MAX_RANGES + YAML)
    assert negotiate(f"{YAML}{';a=b' * 8};q=0.1,{JSON};q=0.5") == Representation(YAML)


@given(st.text(alphabet="ab*/;=,q01. ", max_size=300) | st.binary().map(lambda raw: raw.decode("latin-1")))
def test_any_accept_header_is_parsed(accept: str) -> None:
    try:
        negotiate(accept, TABLES)
    except StatusError as error:
        assert error.code == 406  # noqa: PT017 - any other end is a failure
