"""What goes wrong between us and Kubernetes, as one sentence each."""


class KubernetesError(Exception):
    """kube-apiserver rejected a request, failed or can't be reached; `str()` is `problem` and, after `; `, the hint."""

    problem: str
    """The server, the request and the cause, without the general hint: callers may know a better one."""
    status: int | None
    """The HTTP status; None without a response."""
    reason: str
    """Kubernetes' reason (`NotFound`, `Conflict`, `Expired`…); ours without a response: `Unreachable`."""

    def __init__(self, problem: str, hint: str = "", *, status: int | None = None, reason: str = "") -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem = problem
        self.status = status
        self.reason = reason


class KubeconfigError(KubernetesError):
    """The kubeconfig, its context or the pod's own credentials can't be used; nothing was asked of any server."""

    def __init__(self, message: str) -> None:
        super().__init__(message, reason="Kubeconfig")


class UpstreamError(Exception):
    """The adapter that has the other metrics gave nothing that may be passed on.

    `str()` is a clause that follows its name: what it did, why, what to do.
    """


class UpstreamStatusError(UpstreamError):
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
