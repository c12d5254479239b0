"""The password: found, made where there is none, never two at once, and compared without a hint."""

import base64
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from app.console.passwords import KEY, Password, PasswordError, from_file, from_secret
from app.kube.errors import KubernetesError
from app.settings import ObjectName

pytestmark = pytest.mark.anyio
SECRET = ObjectName("beanscale", "beanscale-console")


@dataclass
class OneSecret:
    """Asked as app.kube.client.Kubernetes is; `races`: so many writers come before us."""

    data: dict[str, str] | None = None
    version: int = 1
    races: int = 0
    lost: bool = False
    gone: bool = False
    asked: list[str] = field(default_factory=list)

    def request(self, method: str, path: str, *, body: Any = None, content_type: str = "") -> dict[str, Any]:
        assert path == "/api/v1/namespaces/beanscale/secrets/beanscale-console"
        self.asked.append(method)
        if self.lost:
            raise KubernetesError("https://k can't be asked: connection refused", reason="Unreachable")
        if self.gone:
            raise KubernetesError("https://k answered GET with 404: not found", status=404, reason="NotFound")
        if method == "PATCH":
            assert content_type == "application/merge-patch+json"
            if self.races:
                self.races -= 1
                self.version += 1
                self.data = {KEY: base64.b64encode(b"the other one's").decode()}
            if body["metadata"]["resourceVersion"] != str(self.version):
                raise KubernetesError("https://k answered PATCH with 409: changed", status=409, reason="Conflict")
            self.data = {**(self.data or {}), **body["data"]}
            self.version += 1
        return {"metadata": {"resourceVersion": str(self.version)}, **({"data": self.data} if self.data else {})}


def test_a_secret_without_data_gets_a_permanent_password() -> None:
    secret = OneSecret()
    source = from_secret(secret, SECRET)  # type: ignore[arg-type] # asked as a Kubernetes is
    made = source()
    assert len(made) >= 20
    assert source() == made
    assert secret.asked == ["GET", "PATCH", "GET"]


def test_two_consoles_that_start_at_once_use_the_first_password() -> None:
    secret = OneSecret(races=1)
    assert from_secret(secret, SECRET)() == b"the other one's"  # type: ignore[arg-type]


def test_an_existing_password_is_used_and_nothing_is_written() -> None:
    secret = OneSecret({KEY: base64.b64encode(b"sword fish soup").decode(), "other": "eA=="})
    assert from_secret(secret, SECRET)() == b"sword fish soup"  # type: ignore[arg-type]
    assert secret.asked == ["GET"]


@pytest.mark.parametrize("end", [b"", b"\n", b"\r\n"])
def test_a_trailing_newline_in_a_secret_is_no_part_of_the_password(end: bytes) -> None:
    secret = OneSecret({KEY: base64.b64encode(b"sword fish soup" + end).decode()})
    assert from_secret(secret, SECRET)() == b"sword fish soup"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("written", "why"),
    [
        pytest.param("", "has an empty password", id="empty"),
        pytest.param(base64.b64encode(b" " * 12).decode(), "has an empty password", id="blank"),
        pytest.param(base64.b64encode(b"a\nb").decode(), "of several lines", id="several lines"),
        pytest.param("???", "isn't base64", id="no base64"),
        pytest.param(base64.b64encode(b"sword fish!").decode(), "fewer than 12 characters", id="short"),
        pytest.param(base64.b64encode("schlüßelöß".encode()).decode(), "fewer than 12 characters", id="short text"),
        pytest.param(base64.b64encode(b"\xff" * 18).decode(), "isn't UTF-8", id="random bytes"),
        pytest.param(base64.b64encode(b"x" * 1025).decode(), "more than 1024 bytes", id="endless"),
    ],
)
def test_an_invalid_password_is_rejected(written: str, why: str) -> None:
    with pytest.raises(PasswordError, match=why):
        from_secret(OneSecret({KEY: written}), SECRET)()  # type: ignore[arg-type]


def test_a_password_file_can_have_a_trailing_newline(tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_bytes(b"sword fish soup\r\n")
    assert from_file(file)() == b"sword fish soup"
    file.write_bytes(b"\n")
    with pytest.raises(PasswordError, match="empty password"):
        from_file(file)()
    file.unlink()
    with pytest.raises(PasswordError, match=r"can't read the password from .*: no such file"):
        from_file(file)()


async def test_before_the_password_is_read_no_sign_in_succeeds() -> None:
    secret = OneSecret({KEY: base64.b64encode(b"sword fish soup").decode()}, lost=True)
    password = Password(from_secret(secret, SECRET), lambda: None)  # type: ignore[arg-type]
    for guess in (b"", b"sword fish soup"):
        assert not password.is_right(guess)
    await password.refresh()
    assert password.error == "https://k can't be asked: connection refused"
    assert not password.is_right(b"")
    secret.lost = False
    await password.refresh()
    assert password.error is None
    assert password.is_right(b"sword fish soup")
    assert not password.is_right(b"sword fish sou")
    assert not password.is_right(b"")


async def test_while_the_secret_cant_be_read_the_last_password_stays_valid() -> None:
    secret = OneSecret({KEY: base64.b64encode(b"sword fish soup").decode()})
    password = Password(from_secret(secret, SECRET), lambda: None)  # type: ignore[arg-type]
    await password.refresh()
    secret.lost = True
    await password.refresh()
    assert password.is_right(b"sword fish soup")
    assert password.error is None


async def test_an_unreadable_password_is_logged_once() -> None:
    secret = OneSecret({KEY: base64.b64encode(b"sword fish soup").decode()})
    password = Password(from_secret(secret, SECRET), lambda: None)  # type: ignore[arg-type]
    await password.refresh()
    secret.lost = True
    with capture_logs() as lines:
        await password.refresh()
        await password.refresh()
    (line,) = lines
    assert (line["effect"], line["error"]) == (
        "the previous password stays valid",
        "https://k can't be asked: connection refused",
    )


async def test_deleting_the_secret_ends_all_sessions_and_logs_how_to_create_another() -> None:
    secret, ended = OneSecret({KEY: base64.b64encode(b"sword fish soup").decode()}), []
    password = Password(from_secret(secret, SECRET), lambda: ended.append("all signed out"))  # type: ignore[arg-type]
    await password.refresh()
    secret.gone = True
    await password.refresh()
    await password.refresh()
    assert ended == ["all signed out"]
    assert not password.is_right(b"sword fish soup")
    assert "kubectl -n beanscale create secret generic beanscale-console" in str(password.error)
    secret.gone, secret.data = False, None
    await password.refresh()
    assert password.error is None
    assert KEY in (secret.data or {})


async def test_a_changed_password_is_logged_once_and_the_old_one_is_invalid() -> None:
    given, changes = [b"first"], []
    password = Password(lambda: given[0], lambda: changes.append("all signed out"))
    await password.refresh()
    await password.refresh()
    assert changes == []
    given[0] = b"second"
    await password.refresh()
    await password.refresh()
    assert changes == ["all signed out"]
    assert password.is_right(b"second")
    assert not password.is_right(b"first")
