"""Errors between beanscale and kube-apiserver."""


class KubernetesError(Exception):
    """kube-apiserver rejected a request, failed or can't be reached; `str()` is `problem` and, after `; `, the hint."""

    problem: str
    """The server, the request and the cause, without the general hint: callers may know a better one."""
    status: int | None
    """The HTTP status; None without a response."""
    reason: str
    """Kubernetes' reason (`NotFound`, `Conflict`, `Expired`…); without a response beanscale's: `Unreachable`."""

    def __init__(self, problem: str, hint: str = "", *, status: int | None = None, reason: str = "") -> None:
        super().__init__(f"{problem}; {hint}" if hint else problem)
        self.problem = problem
        self.status = status
        self.reason = reason


class KubeconfigError(KubernetesError):
    """The kubeconfig, its context or the pod's own credentials can't be used; no request was sent."""

    def __init__(self, problem: str, hint: str = "") -> None:
        super().__init__(problem, hint, reason="Kubeconfig")


class NotKubernetesError(KubernetesError):
    """A response that no kube-apiserver sends; nothing in it counts."""

    def __init__(self, problem: str, *, status: int | None = None) -> None:
        super().__init__(problem, "check that it is a kube-apiserver", status=status, reason="NotKubernetes")
