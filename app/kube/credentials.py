"""Where kube-apiserver is, as which account beanscale talks to it, and which namespace is the default.

Credentials come from a kubeconfig, or from the service account of the pod that beanscale runs in.
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
from app.settings import host_port

if TYPE_CHECKING:
    from kubernetes.client import Configuration

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""The kubelet puts a pod's credentials here."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Credentials:
    """All that a connection needs."""

    server: str
    """`https://HOST:PORT`, with a path where the API lives below one (Rancher), without a slash at the end."""
    tls: Callable[[], ssl.SSLContext]
    """Returns a context that verifies the server, with the client certificate, if there is one; another context after
    the cluster's CA changed. Raises KubeconfigError."""
    authorization: Callable[[], str | None]
    """Returns the Authorization header's value now, because tokens are short-lived. Raises KubeconfigError."""
    server_name: str | None = None
    """The name expected in the server's certificate, if not the host in `server`."""
    proxy: str | None = None


def find_credentials(
    kubeconfig: Path | None, context: str | None, service_account: Path = SERVICE_ACCOUNT
) -> Credentials:
    """Return the credentials of the named kubeconfig; else of the pod; else of $KUBECONFIG or ~/.kube/config.

    Raise KubeconfigError.
    """
    files = _kubeconfig_files(kubeconfig, context)
    if files is not None:
        return _from_kubeconfig(files, context)
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    token_file = service_account / "token"

    def authorization() -> str:
        # Read each time: the kubelet replaces the token before it expires, and reading its tmpfs costs microseconds.
        try:
            token = token_file.read_text("ascii").strip()
        except OSError as error:
            raise KubeconfigError(
                f"can't read the pod's token {token_file}: {error.strerror}",
                "the pod needs a service account with automountServiceAccountToken: true, or --kubeconfig",
            ) from error
        except UnicodeDecodeError:
            token = ""
        if not token.isprintable() or not token:
            raise KubeconfigError(
                f"the pod's token {token_file} is not one line of text", "the kubelet should replace it soon"
            )
        return f"Bearer {token}"

    authorization()
    ca = ReloadedCa(service_account / "ca.crt", "the pod's service account")
    return Credentials(f"https://{host_port(host, port)}", ca, authorization)


def own_namespace(kubeconfig: Path | None, context: str | None, service_account: Path = SERVICE_ACCOUNT) -> str:
    """Return the namespace of the kubeconfig's context, or of the pod, or else `default`. Raise KubeconfigError."""
    files = _kubeconfig_files(kubeconfig, context)
    if files is None:
        file = service_account / "namespace"
        try:
            return file.read_text("ascii").strip() or "default"
        except (OSError, UnicodeDecodeError) as error:
            raise KubeconfigError(f"can't read the pod's namespace from {file}", "set --namespace") from error
    # Imported late: it takes 25 MB and most of a second, and a pod never reads a kubeconfig.
    from kubernetes.config import ConfigException, list_kube_config_contexts  # noqa: PLC0415

    try:
        contexts, active = list_kube_config_contexts(files)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise KubeconfigError(f"can't read the contexts of {files}: {error}", "set --namespace") from error
    named = next((one for one in contexts if one["name"] == context), None) if context else active
    return str(((named or {}).get("context") or {}).get("namespace") or "default")


def _kubeconfig_files(kubeconfig: Path | None, context: str | None) -> str | None:
    """Return files as $KUBECONFIG lists them; None if the pod's service account applies."""
    if kubeconfig is not None:
        return str(kubeconfig)
    if context is None and os.environ.get("KUBERNETES_SERVICE_HOST"):
        return None
    return os.environ.get("KUBECONFIG") or str(Path("~/.kube/config").expanduser())


class ReloadedCa:
    """The TLS context for a CA file that may be replaced at any time. Thread-safe."""

    def __init__(self, ca_file: Path, source: str) -> None:
        """Raise KubeconfigError if the file can't be used; `source` says in messages where it comes from."""
        self._ca_file = ca_file
        self._source = source
        self._lock = threading.Lock()
        self._content = b""
        self._tls: ssl.SSLContext | None = None
        self()

    def __call__(self) -> ssl.SSLContext:
        """Return a context that trusts the file's CAs; the previous one while the file can't be used."""
        with self._lock:
            try:
                content = self._ca_file.read_bytes()
            except OSError:
                content = b""
            if self._tls is None:
                self._tls = _verifying(self._ca_file, self._source)
            elif content != self._content:
                try:
                    self._tls = _verifying(self._ca_file, self._source)
                except KubeconfigError as error:
                    # Fails closed: the previous CA accepts or rejects the server; nothing new is trusted.
                    _log.warning("changed CA file can't be used, the previous CA stays valid", error=str(error))
                else:
                    certificates = content.count(b"BEGIN CERT")
                    _log.info("CA file changed", file=str(self._ca_file), certificates=certificates)
            self._content = content
            return self._tls


def _from_kubeconfig(files: str, context: str | None) -> Credentials:
    paths = [path for name in files.split(os.pathsep) if name and (path := Path(name).expanduser()).exists()]
    if not paths:
        raise KubeconfigError(
            f"there is no kubeconfig at {files}", "name one with --kubeconfig or $KUBECONFIG, or run inside a cluster"
        )
    for path in paths:
        try:
            path.open("rb").close()
        except OSError as error:
            raise KubeconfigError(
                f"can't read the kubeconfig {path}: {error.strerror}", "name another with --kubeconfig"
            ) from error
    # The loader writes keys that are inside the kubeconfig to files; they are deleted once the TLS context has them.
    with tempfile.TemporaryDirectory(prefix="beanscale-") as folder:
        loaded = _load(files, context, folder)
        if not str(loaded.host).startswith("https://") or not loaded.verify_ssl:
            raise KubeconfigError(
                f"{files} leads to {loaded.host} without verified TLS",
                "use a context whose server is https:// and that has a certificate-authority instead of"
                " insecure-skip-tls-verify",
            )
        tls = _verifying(Path(loaded.ssl_ca_cert) if loaded.ssl_ca_cert else None, files)
        if loaded.cert_file is not None:
            try:
                tls.load_cert_chain(loaded.cert_file, loaded.key_file)
            except OSError as error:
                raise KubeconfigError(
                    f"the client certificate of {files} can't be used: {error}",
                    "check that certificate and key match",
                ) from error
    from kubernetes.client.rest import should_bypass_proxies  # noqa: PLC0415

    def authorization() -> str | None:
        token: str | None = loaded.get_api_key_with_prefix("BearerToken")  # runs the refresh hook first
        return token

    uses_proxy = loaded.proxy and not should_bypass_proxies(loaded.host, loaded.no_proxy or "")
    proxy = str(loaded.proxy) if uses_proxy else None
    return Credentials(str(loaded.host), lambda: tls, authorization, loaded.tls_server_name, proxy)


def _load(files: str, context: str | None, folder: str) -> "Configuration":
    """Read the kubeconfig by the kubernetes package, which knows all forms of it, exec plugins included."""
    import yaml  # noqa: PLC0415
    from kubernetes.client import Configuration  # noqa: PLC0415
    from kubernetes.config import ConfigException, load_kube_config  # noqa: PLC0415

    loaded = Configuration()
    logged: list[str] = []
    handler = logging.Handler(logging.ERROR)
    handler.emit = lambda record: logged.append(" ".join(record.getMessage().split()))  # type: ignore[method-assign]
    logging.getLogger().addHandler(handler)
    try:
        load_kube_config(files, context, loaded, persist_config=False, temp_file_path=folder)  # type: ignore[no-untyped-call]
    except (ConfigException, yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError, OSError) as error:
        # The loader trusts the structure of the file, so an unexpected one raises any of these.
        where = f"context {context!r} of {files}" if context else files
        is_misshapen = isinstance(error, (AttributeError, KeyError, TypeError))
        why = "unexpected structure" if is_misshapen else " ".join(str(error).split())
        raise KubeconfigError(
            f"can't use {where} as a kubeconfig: {why}", "`kubectl config get-contexts` lists its contexts"
        ) from error
    finally:
        logging.getLogger().removeHandler(handler)
    if logged:  # the loader only logs that a credentials plugin failed
        raise KubeconfigError(f"the credentials plugin of {files} failed: {'; '.join(logged)}", "log in again")
    return loaded


def _verifying(ca_file: Path | None, source: str) -> ssl.SSLContext:
    try:
        tls = ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # SSLError is one
        raise KubeconfigError(
            f"the certificate-authority of {source} can't be used: {error}", "expected PEM"
        ) from error
    # Python's default since 3.13 rejects CAs without key identifiers and key usage. The standard allows private CAs
    # without them, many clusters have such, and kubectl accepts them; signatures, names and dates are verified as ever.
    tls.verify_flags &= ~ssl.VERIFY_X509_STRICT
    return tls
