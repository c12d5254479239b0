"""Which namespace is meant where none is named: as kubectl has it, and in a pod the pod's own."""

from pathlib import Path

from app.cluster.credentials import SERVICE_ACCOUNT, kubeconfig_files
from app.cluster.errors import KubeconfigError

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
