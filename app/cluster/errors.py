"""What goes wrong between us and Kubernetes, as one sentence each."""


class KubernetesError(Exception):
    """kube-apiserver refused, failed or couldn't be asked; `str()` says which server, the request, why, what to do."""

    status: int | None
    """The HTTP status, None when there was no answer."""
    reason: str
    """Kubernetes' word for it (`NotFound`, `Conflict`, `Expired`…); ours where there was no answer: `Unreachable`."""

    def __init__(self, message: str, *, status: int | None = None, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason


class KubeconfigError(KubernetesError):
    """The kubeconfig, its context or the pod's own credentials can't be used; nothing was asked of any server."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Kubeconfig")
