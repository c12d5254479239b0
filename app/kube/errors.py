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


class IncumbentError(Exception):
    """The adapter that has the other metrics gave nothing that may be passed on.

    `str()` is a clause that follows its name: what it did, why, what to do.
    """


class IncumbentRefusalError(IncumbentError):
    """It refused or failed in words of its own."""

    code: int
    """The HTTP status, 400 to 599."""
    reason: str
    """Kubernetes' word for it (`NotFound`, `InternalError`…); empty where it had none."""
    message: str
    retry_after_s: int
    """Whole seconds after which to ask again; 0: it didn't say."""

    def __init__(self, code: int, reason: str, message: str, retry_after_s: int = 0) -> None:
        super().__init__(f"answered {code}: {message}")
        self.code = code
        self.reason = reason
        self.message = message
        self.retry_after_s = retry_after_s
