"""The console's password: from a file, from a Secret, or generated for one run.

The chart renders its Secret without data, so nothing random is templated and an upgrade changes nothing; the first
console that starts writes the password.
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Callable
from pathlib import Path

import structlog

from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError
from app.settings import ObjectName

KEY = "password"
"""Key of the password in the Secret's data."""
MIN_PASSWORD = 12
"""Characters. Guesses are limited to one in 0.6 s: 12 characters can't be guessed, unless they are a word."""
MAX_PASSWORD = 1024
"""Bytes."""
READ_EVERY_S = 10.0
_ATTEMPTS = 3

_log = structlog.get_logger()

type ReadPassword = Callable[[], bytes]
"""Blocking. Raises PasswordError, KubernetesError."""


class PasswordError(Exception):
    """The password can't be read; `str()` is a clause."""


class NoPasswordError(PasswordError):
    """There is no password (any more): removing it signs everyone out."""


def make_password() -> bytes:
    """Return a new password of 144 random bits."""
    return secrets.token_urlsafe(18).encode()


class Password:
    """The current password, read again every few seconds. A change ends all sessions."""

    def __init__(self, read: ReadPassword, changed: Callable[[], None]) -> None:
        self.error: str | None = "the password hasn't been read yet"
        """Why nobody can sign in."""
        self._read = read
        self._changed = changed
        self._key = secrets.token_bytes(32)
        self._digest: bytes | None = None
        self._logged = ""

    def is_right(self, guess: bytes) -> bool:
        """Compare in constant time. False too while the password isn't known."""
        known = self._digest or self._digest_of(secrets.token_bytes(32))
        return hmac.compare_digest(self._digest_of(guess), known)

    async def run(self) -> None:
        """Read it again and again until cancelled."""
        while True:
            await self.refresh()
            await asyncio.sleep(READ_EVERY_S)

    async def refresh(self) -> None:
        """Read it once. While it can't be read, the previous password stays valid."""
        try:
            found = await asyncio.to_thread(self._read)
        except (PasswordError, KubernetesError) as error:
            if isinstance(error, NoPasswordError) and self._digest is not None:
                self._digest = None
                self._changed()
            if self._digest is None:
                self.error = str(error)
            if str(error) != self._logged:
                effect = "nobody can sign in" if self._digest is None else "the previous password stays valid"
                _log.warning("the console's password can't be read", effect=effect, error=str(error))
                self._logged = str(error)
            return
        self.error, self._logged = None, ""
        before, self._digest = self._digest, self._digest_of(found)
        if before is not None and before != self._digest:
            _log.warning("the password has changed: everyone has to sign in again")
            self._changed()

    def _digest_of(self, guess: bytes) -> bytes:
        return hmac.digest(self._key, guess, hashlib.sha256)


def from_file(file: Path) -> ReadPassword:
    """Return a reader of a file with one line."""

    def read() -> bytes:
        try:
            with file.open("rb") as opened:
                content = opened.read(MAX_PASSWORD + 1)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            raise PasswordError(f"can't read the password from {file}: {reason}") from error
        return _checked(content, f"the file {file}")

    return read


def from_secret(kubernetes: Kubernetes, secret: ObjectName) -> ReadPassword:
    """Return a reader of a Secret's key `password`, generated if missing. Needs get and patch on the Secret."""
    path = object_path("/api/v1", secret.namespace, "secrets", secret.name)

    def read() -> bytes:
        for _ in range(_ATTEMPTS):
            try:
                found = kubernetes.request("GET", path)
            except KubernetesError as error:
                if error.status != 404:
                    raise
                raise NoPasswordError(
                    f"there is no Secret {secret}, so everyone is signed out; create it, empty or with a key {KEY}:"
                    f" kubectl -n {secret.namespace} create secret generic {secret.name}"
                ) from error
            encoded = (found.get("data") or {}).get(KEY)
            if encoded is not None:
                try:
                    content = base64.b64decode(encoded, validate=True)
                except (binascii.Error, ValueError) as error:
                    raise PasswordError(f"the key {KEY} of the Secret {secret} isn't base64") from error
                return _checked(content, f"the Secret {secret}")
            password = make_password()
            patch = {
                "metadata": {"resourceVersion": found["metadata"]["resourceVersion"]},
                "data": {KEY: base64.b64encode(password).decode()},
            }
            try:
                kubernetes.request("PATCH", path, body=patch, content_type="application/merge-patch+json")
            except KubernetesError as error:
                if error.status == 409:  # another writer was first
                    continue
                raise
            show = f"kubectl -n {secret.namespace} get secret {secret.name} -o jsonpath='{{.data.{KEY}}}' | base64 -d"
            _log.info("password generated", secret=str(secret), hint=show)
            return password
        raise PasswordError(f"the Secret {secret} changes all the time; only the console should write to it")

    return read


def _checked(content: bytes, where: str) -> bytes:
    """Return the password without the line end that editors and `echo` append. Raises PasswordError."""
    password = content.removesuffix(b"\n").removesuffix(b"\r")
    if not password.strip():
        raise PasswordError(f"{where} has an empty password; put one there, or remove its key {KEY!r}")
    if b"\n" in password or b"\r" in password:
        raise PasswordError(f"{where} has a password of several lines, which can't be typed; use one line")
    if len(password) > MAX_PASSWORD:
        raise PasswordError(f"{where} has a password of more than {MAX_PASSWORD} bytes; use a shorter one")
    try:
        characters = len(password.decode())
    except UnicodeDecodeError:
        raise PasswordError(f"{where} has a password that isn't UTF-8, which browsers can't send; use text") from None
    if characters < MIN_PASSWORD:
        raise PasswordError(f"{where} has a password of fewer than {MIN_PASSWORD} characters; use a longer one")
    return password
