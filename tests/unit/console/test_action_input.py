"""What an action is asked with: read whole, every mistake one sentence."""

from typing import Any

import pytest
from starlette.requests import Request

from app.console.action_input import ActionInput, action_input
from app.console.errors import RequestError


def request(body: bytes, media_type: str) -> Request:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    scope = {"type": "http", "method": "POST", "headers": [(b"content-type", media_type.encode())]}
    return Request(scope, receive)


async def test_json_is_parsed() -> None:
    fields = await action_input(request(b'{"tube":"a","count":3,"delayed":true,"toServer":null}', "application/json"))
    assert (fields.text("tube"), fields.integer("count", 1, 9), fields.flag("delayed")) == ("a", 3, True)
    assert "toServer" not in fields


@pytest.mark.parametrize("size", [0, 3, 2_000_000])
async def test_a_form_with_a_file_is_parsed_exactly_and_never_written_to_disk(
    size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    body = b"\r\n\x00\xff--b"[: size or 0] + b"\r" * max(0, size - 7)
    form = (
        b'--b\r\nContent-Disposition: form-data; name="tube"\r\n\r\na/b\r\n--b\r\nContent-Disposition: form-data;'
        b' name="ttr"\r\n\r\n60\r\n--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
        b"Content-Type: application/octet-stream\r\n\r\n" + body + b"\r\n--b--\r\n"
    )
    fields = await action_input(request(form, "multipart/form-data; boundary=b"))
    assert (fields.text("tube"), fields.integer("ttr", 1, 99), fields.file) == ("a/b", 60, body)


@pytest.mark.parametrize(
    ("body", "media_type", "said"),
    [
        pytest.param(b"{", "application/json", "isn't JSON", id="broken"),
        pytest.param(b"[" * 100_000, "application/json", "isn't JSON", id="deep"),
        pytest.param(b"\xff", "application/json", "isn't JSON", id="no text"),
        pytest.param(b"[]", "application/json", "isn't a JSON object", id="a list"),
        pytest.param(
            b"tube=a", "application/x-www-form-urlencoded", "requires application/json, or multipart", id="another form"
        ),
        pytest.param(b"{}", "", "requires application/json, or multipart", id="nothing sent"),
        pytest.param(b"", "multipart/form-data", "invalid form", id="no boundary"),
        pytest.param(
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n\r\n1\r\n' * 2 + b"--b--\r\n",
            "multipart/form-data; boundary=b",
            "invalid form",
            id="two files",
        ),
    ],
)
async def test_invalid_input_is_one_sentence(body: bytes, media_type: str, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        await action_input(request(body, media_type))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        pytest.param(0, "from 1 to 1,000, and is 0", id="too small"),
        pytest.param(1001, "and is 1001", id="too large"),
        pytest.param(10**30, "and is 1000", id="far too large"),
        pytest.param(True, "and is true", id="a truth"),
        pytest.param(1.0, "and is 1.0", id="a fraction"),
        pytest.param("-1", 'and is "-1"', id="a text that is none"),
        pytest.param("٣", "and is ", id="another script's digit"),
        pytest.param(None, "and is missing", id="missing"),
    ],
)
def test_a_number_is_an_integer_within_limits(value: object, said: str) -> None:
    with pytest.raises(RequestError, match=f"^count must be an integer.*{said}"):
        ActionInput({"count": value}).integer("count", 1, 1000)


@pytest.mark.parametrize("value", ["ready", [], ["ready", "reserved"], [1], None])
def test_states_are_one_or_more_known_states(value: object) -> None:
    with pytest.raises(RequestError, match="states must be a list of one or more of ready, buried"):
        ActionInput({"states": value}).choices("states", ("ready", "buried"))


@pytest.mark.parametrize(("value", "said"), [(None, "tube is missing"), (7, "tube must be a string")])
def test_text_is_required_to_be_a_string(value: object, said: str) -> None:
    with pytest.raises(RequestError, match=said):
        ActionInput({"tube": value}).text("tube")


@pytest.mark.parametrize("value", ["true", 1, "yes"])
def test_only_true_is_true(value: object) -> None:
    with pytest.raises(RequestError, match="delayed must be true or false"):
        ActionInput({"delayed": value}).flag("delayed")
