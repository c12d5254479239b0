"""Where kube-apiserver is and who we are there: from a kubeconfig, or from the pod we run in.

Which namespace is meant where none is named: as kubectl has it, and in a pod the pod's own.
"""

import logging
import os
import ssl
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from app.kube.errors import KubeconfigError

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where the kubelet puts a pod's credentials."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that a connection needs."""

    server: str
    """`https://HOST:PORT`, with a path where the API lives below one (Rancher), without a slash at the end."""
    tls: Callable[[], ssl.SSLContext]
    """Verifies the server, and holds the client certificate, if that is how we authenticate; another one once the
    cluster's CA has changed. Raises KubeconfigError."""
    authorization: Callable[[], str | None]
    """The Authorization header's value at this moment; tokens are short-lived. Raises KubeconfigError."""
    server_name: str | None = None
    """The name expected in the server's certificate, if not the host in `server`."""
    proxy: str | None = None


def find_credentials(
    kubeconfig: Path | None, context: str | None, service_account: Path = SERVICE_ACCOUNT
) -> Credentials:
    """The kubeconfig named; else the pod's own account; else $KUBECONFIG or ~/.kube/config. Raises KubeconfigError."""
    files = kubeconfig_files(kubeconfig, context)
    if files is not None:
        return _from_kubeconfig(files, context)
    port = os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    return _from_pod(os.environ["KUBERNETES_SERVICE_HOST"], port, service_account)


def kubeconfig_files(kubeconfig: Path | None, context: str | None) -> str | None:
    """As $KUBECONFIG has them; None where the pod's own account counts."""
    if kubeconfig is not None:
        return str(kubeconfig)
    if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return None
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


def _from_pod(host: str, port: str, service_account: Path) -> Credentials:
    token_file = service_account / "token"

    def authorization() -> str:
        # Read each time: the kubelet replaces the token before it expires, and reading its tmpfs costs microseconds.
        return f"Bearer {_token(token_file)}"

    authorization()
    server = f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"
    return Credentials(server, ReloadedCa(service_account / "ca.crt", "the pod's service account"), authorization)


def _token(token_file: Path) -> str:
    try:
        token = token_file.read_text("ascii").strip()
    except OSError as error:
        raise KubeconfigError(
            f"can't read the pod's token {token_file}: {error.strerror};"
            " the pod needs a service account with automountServiceAccountToken: true, or --kubeconfig"
        ) from error
    except UnicodeDecodeError as error:
        raise KubeconfigError(f"the pod's token {token_file} isn't text; the kubelet should replace it soon") from error
    if not token.isprintable() or not token:
        raise KubeconfigError(
            f"the pod's token {token_file} isn't one line of text; the kubelet should replace it soon"
        )
    return token


class ReloadedCa:
    """The TLS context for a CA file that the kubelet replaces when the CA is rotated. For any thread."""

    def __init__(self, ca_file: Path, source: str) -> None:
        """`source`: where the file comes from, for messages. Raises KubeconfigError where it can't be used."""
        self._ca_file = ca_file
        self._source = source
        self._lock = threading.Lock()
        self._seen: bytes | None = None
        self._tls: ssl.SSLContext | None = None
        self()

    def __call__(self) -> ssl.SSLContext:
        """Raises KubeconfigError where there never was one that can be used."""
        with self._lock:
            content = self._content()
            if self._tls is None or content != self._seen:
                self._tls = self._loaded(content)
                self._seen = content
            return self._tls

    def _content(self) -> bytes:
        try:
            return self._ca_file.read_bytes()
        except OSError:
            return b""

    def _loaded(self, content: bytes) -> ssl.SSLContext:
        try:
            tls = _verifying(self._ca_file, self._source)
        except KubeconfigError as error:
            if self._tls is None:
                raise
            # The one before still verifies the server, or refuses it: nobody is trusted by this.
            _log.warning("a CA has changed and can't be used, keeping the one before", why=str(error))
            return self._tls
        if self._tls is not None:
            _log.info(
                "a CA has changed",
                file=str(self._ca_file),
                certificates=content.count(b"BEGIN CERT"),
            )
        return tls


def _from_kubeconfig(files: str, context: str | None) -> Credentials:
    _must_be_readable(files)
    # The loader writes keys that stand in the kubeconfig to files: they are gone as soon as the TLS context has them.
    with tempfile.TemporaryDirectory(prefix="beanscale-") as folder:
        loaded = _load(files, context, folder)
        if not str(loaded.host).startswith("https://") or not loaded.verify_ssl:
            raise KubeconfigError(
                f"{files} leads to {loaded.host} without verified TLS; use a context whose server is https://"
                " and has a certificate-authority instead of insecure-skip-tls-verify"
            )
        tls = _verifying(Path(loaded.ssl_ca_cert) if loaded.ssl_ca_cert else None, files)
        _present(tls, loaded.cert_file, loaded.key_file, files)

    def authorization() -> str | None:
        token: str | None = loaded.get_api_key_with_prefix("BearerToken")  # runs the refresh hook first
        return token

    return Credentials(str(loaded.host), lambda: tls, authorization, loaded.tls_server_name, _proxy(loaded))


def _must_be_readable(files: str) -> None:
    paths = [Path(path).expanduser() for path in files.split(os.pathsep) if path]
    present = [path for path in paths if path.exists()]
    if not present:
        raise KubeconfigError(
            f"there is no kubeconfig at {files}; name one with --kubeconfig or $KUBECONFIG, or run inside a cluster"
        )
    for path in present:
        try:
            path.open("rb").close()
        except OSError as error:
            raise KubeconfigError(
                f"can't read the kubeconfig {path}: {error.strerror}; name another with --kubeconfig"
            ) from error


def _load(files: str, context: str | None, folder: str) -> "Configuration":
    """The package's loader knows every form of kubeconfig, exec plugins included."""
    # Imported only here: it takes 25 MB and most of a second, and a pod never reads a kubeconfig.
    import yaml  # noqa: PLC0415
    from kubernetes.client import Configuration  # noqa: PLC0415
    from kubernetes.config import ConfigException, load_kube_config  # noqa: PLC0415

    loaded = Configuration()
    said = _Complaints()
    logging.getLogger().addHandler(said)
    try:
        load_kube_config(files, context, loaded, persist_config=False, temp_file_path=folder)  # type: ignore[no-untyped-call]
    except (ConfigException, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        # The loader trusts the file's shape, so a wrong one shows as any of these.
        raise KubeconfigError(_unusable(files, context, error)) from error
    finally:
        logging.getLogger().removeHandler(said)
    if said.messages:  # a credentials plugin that failed is only logged there
        raise KubeconfigError(
            f"{files} names a credentials program that failed: {'; '.join(said.messages)}; log in again"
        )
    return loaded


class _Complaints(logging.Handler):
    """Keeps what the loader logs instead of raising."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(" ".join(record.getMessage().split()))


def _unusable(files: str, context: str | None, error: Exception) -> str:
    where = f"context {context!r} of {files}" if context else files
    misshapen = isinstance(error, (AttributeError, KeyError, TypeError))
    why = "it isn't shaped like one" if misshapen else " ".join(str(error).split())
    return f"can't use {where} as a kubeconfig: {why}; `kubectl config get-contexts` shows what there is"


def _verifying(ca_file: Path | None, source: str) -> ssl.SSLContext:
    try:
        tls = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # SSLError is one
        raise KubeconfigError(f"the certificate-authority of {source} can't be used: {error}; is it PEM?") from error
    # Since Python 3.13 the default refuses CAs without key identifiers and key usage. The standard lets a private CA go
    # without, many clusters' do, and kubectl takes them; signatures, names and dates are verified as ever.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls


def _present(tls: ssl.SSLContext, cert_file: str | None, key_file: str | None, source: str) -> None:
    if cert_file is None:
        return
    try:
        tls.load_cert_chain(cert_file, key_file)
    except OSError as error:
        raise KubeconfigError(
            f"the client certificate of {source} can't be used: {error}; do certificate and key match?"
        ) from error


def _proxy(loaded: "Configuration") -> str | None:
    from kubernetes.client.rest import should_bypass_proxies  # noqa: PLC0415

    if not loaded.proxy or should_bypass_proxies(loaded.host, loaded.no_proxy or ""):
        return None
    return str(loaded.proxy)


_DEFAULT = "default"


def own_namespace(kubeconfig: Path | None, context: str | None, service_account: Path = SERVICE_ACCOUNT) -> str:
    """That of the pod we run in, or of the kubeconfig's context, or `default`. Raises KubeconfigError."""
    files = kubeconfig_files(kubeconfig, context)
    return _of_pod(service_account / "namespace") if files is None else _of_context(files, context)


def _of_pod(file: Path) -> str:
    try:
        return file.read_text("ascii").strip() or _DEFAULT
    except (OSError, UnicodeDecodeError) as error:
        raise KubeconfigError(f"can't read the pod's own namespace from {file}; name one with --namespace") from error


def _of_context(files: str, context: str | None) -> str:
    # Imported only here: it takes 25 MB and most of a second, and a pod never reads a kubeconfig.
    from kubernetes.config import ConfigException, list_kube_config_contexts  # noqa: PLC0415

    try:
        contexts, active = list_kube_config_contexts(files)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise KubeconfigError(f"can't read the contexts of {files}: {error}; name one with --namespace") from error
    named = next((one for one in contexts if one["name"] == context), None) if context else active
    return str(((named or {}).get("context") or {}).get("namespace") or _DEFAULT)


if TYPE_CHECKING:
    from kubernetes.client import Configuration

_log = structlog.get_logger()
