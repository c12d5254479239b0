"""The console's password: from a file, from a Secret, or made for one run; and whether a guess is it.

The chart renders its Secret without data, so that nothing random is templated and an upgrade changes nothing; the first
console that starts puts the password there.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import structlog

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName

KEY = "password"
"""Of the Secret's data."""
MOST_PASSWORD = 1024
"""Bytes."""
LOOK_EVERY_S = 10.0
_ATTEMPTS = 3

_log = structlog.get_logger()

type ReadPassword = Callable[[], bytes]
"""Blocking. Raises PasswordError, KubernetesError."""


class PasswordError(Exception):
    """There is no password to sign in with; `str()` is a sentence."""


class PasswordGoneError(PasswordError):
    """There is surely none (any more): whoever took it away wants nobody in who knew it."""


def make_password() -> bytes:
    """A new one, of 144 random bits."""
    return secrets.token_urlsafe(18).encode()


class Password:
    """The one that holds now. A change ends all sessions."""

    def __init__(self, read: ReadPassword, changed: Callable[[], None]) -> None:
        self.trouble: str | None = "the password isn't known yet"
        """Why nobody can sign in."""
        self._read = read
        self._changed = changed
        self._key = secrets.token_bytes(32)
        self._digest: bytes | None = None
        self._told = ""

    def is_right(self, guess: bytes) -> bool:
        """Takes the same time for every guess. False too while the password isn't known."""
        known = self._digest or self._of(secrets.token_bytes(32))
        return hmac.compare_digest(self._of(guess), known)

    async def keep(self) -> None:
        """Look for a new one until cancelled."""
        while True:
            await self.look()
            await asyncio.sleep(LOOK_EVERY_S)

    async def look(self) -> None:
        """Read it once; while it can't tell, the password that was known goes on to hold."""
        try:
            found = await asyncio.to_thread(self._read)
        except PasswordGoneError as error:
            self._forget()
            self._fail(str(error))
            return
        except (PasswordError, KubernetesError) as error:
            self._fail(str(error))
            return
        self.trouble, self._told = None, ""
        digest = self._of(found)
        if digest != self._digest:
            before, self._digest = self._digest, digest
            if before is not None:
                _log.warning("the password has changed: everybody has to sign in again")
                self._changed()

    def _forget(self) -> None:
        if self._digest is not None:
            self._digest = None
            self._changed()

    def _fail(self, why: str) -> None:
        if self._digest is None:
            self.trouble = why
        if why != self._told:
            meanwhile = "nobody can sign in" if self._digest is None else "the password that was known goes on to hold"
            _log.warning("the console's password can't be read", meanwhile=meanwhile, why=why)
            self._told = why

    def _of(self, guess: bytes) -> bytes:
        return hmac.digest(self._key, guess, hashlib.sha256)


def from_file(file: Path) -> ReadPassword:
    """Its only line."""

    def read() -> bytes:
        try:
            with file.open("rb") as opened:
                content = opened.read(MOST_PASSWORD + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PasswordError(f"can't read the password from {file}: {reason}") from error
        return _checked(content, f"the file {file}")

    return read


def from_secret(kubernetes: Kubernetes, secret: ObjectName) -> ReadPassword:
    """Its key `password`; made where it has none. Needs get and patch on this one Secret."""

    def read() -> bytes:
        for _ in range(_ATTEMPTS):
            found = _found(kubernetes, secret)
            written = (found.get("data") or {}).get(KEY)
            if written is not None:
                return _checked(_decoded(written, secret), f"the Secret {secret}")
            try:
                return _make(kubernetes, secret, found["metadata"]["resourceVersion"])
            except KubernetesError as error:
                if error.status != 409:
                    raise
        raise PasswordError(f"the Secret {secret} changes all the time; only the console writes there")

    return read


def _found(kubernetes: Kubernetes, secret: ObjectName) -> dict[str, Any]:
    try:
        return kubernetes.request("GET", _path(secret))
    except KubernetesError as error:
        if error.status != 404:
            raise
        raise PasswordGoneError(
            f"there is no Secret {secret} (any more), so everybody is signed out; create it, empty or with a key {KEY}:"
            f" kubectl -n {secret.namespace} create secret generic {secret.name}"
        ) from error


def _make(kubernetes: Kubernetes, secret: ObjectName, version: str) -> bytes:
    """Raises KubernetesError, with status 409 where somebody else was first."""
    password = make_password()
    patch = {
        "metadata": {"resourceVersion": version},
        "data": {KEY: base64.b64encode(password).decode()},
    }
    kubernetes.request("PATCH", _path(secret), body=patch, content_type="application/merge-patch+json")
    _log.info(
        "made a password",
        secret=str(secret),
        show=f"kubectl -n {secret.namespace} get secret {secret.name} -o jsonpath='{{.data.{KEY}}}' | base64 -d",
    )
    return password


def _decoded(written: str, secret: ObjectName) -> bytes:
    try:
        return base64.b64decode(written, validate=True)
    except (binascii.Error, ValueError) as error:
        raise PasswordError(f"the key {KEY} of the Secret {secret} isn't base64") from error


def _checked(content: bytes, where: str) -> bytes:
    """Without the line end that an editor or `echo` leaves behind it. Raises PasswordError."""
    password = content.removesuffix(b"\n").removesuffix(b"\r")
    if not password:
        raise PasswordError(f"{where} has an empty password; put one there, or remove its key {KEY!r}")
    if b"\n" in password or b"\r" in password:
        raise PasswordError(f"{where} has a password of several lines, which nobody can type; make it one")
    if len(password) > MOST_PASSWORD:
        raise PasswordError(f"{where} has a password of more than {MOST_PASSWORD} bytes; use a shorter one")
    return password


def _path(secret: ObjectName) -> str:
    return f"/api/v1/namespaces/{secret.namespace}/secrets/{secret.name}"
