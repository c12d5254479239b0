"""Short-lived tokens of another ServiceAccount (TokenRequest), for requests that need fewer rights than beanscale has.

Source: k8s.io/api/authentication/v1, TokenRequest.
"""

import threading
import time

from app.kube.client import Kubernetes, object_path
from app.kube.errors import KubernetesError, NotKubernetesError
from app.settings import ObjectName

VALIDITY_S = 600
"""The least that kube-apiserver issues."""
_RENEW_AFTER_S = VALIDITY_S / 2
_MARGIN_S = 30
"""A token is no longer used for so many seconds before it expires."""


class AccountToken:
    """The Authorization header for an account, renewed as it is needed. Thread-safe, blocking."""

    def __init__(self, kubernetes: Kubernetes, account: ObjectName) -> None:
        """Beanscale's own account needs the verb create on `serviceaccounts/token` of this account."""
        self._kubernetes = kubernetes
        self._account = account
        self._renewing = threading.Lock()
        self._issued = "", float("-inf")
        """The header, and when its token was requested, in monotonic seconds."""

    def __call__(self) -> str:
        """Return the header's value. Raise KubernetesError if there is no valid token.

        While one thread renews a token that is still valid, the others use it.
        """
        age_s = time.monotonic() - self._issued[1]
        is_valid = age_s <= VALIDITY_S - _MARGIN_S
        if age_s > _RENEW_AFTER_S and self._renewing.acquire(blocking=not is_valid):
            try:
                if time.monotonic() - self._issued[1] > _RENEW_AFTER_S:  # no other thread has renewed it meanwhile
                    self._issued = self._request()
            except KubernetesError:
                if not is_valid:
                    raise
            finally:
                self._renewing.release()
        return self._issued[0]

    def _request(self) -> tuple[str, float]:
        path = object_path("/api/v1", self._account.namespace, "serviceaccounts", self._account.name, "token")
        request = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": {"expirationSeconds": VALIDITY_S},
        }
        issued_at_s = time.monotonic()
        status = self._kubernetes.request("POST", path, body=request).get("status")
        token = status.get("token") if isinstance(status, dict) else None
        if not isinstance(token, str) or not token:
            raise NotKubernetesError(f"{self._kubernetes.server} issued no token for ServiceAccount {self._account}")
        return f"Bearer {token}", issued_at_s
