"""Tokens of another account are requested as they are needed, and used as long as they are valid."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from app.kube import account_token
from app.kube.account_token import VALIDITY_S, AccountToken
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName
from tests.unit.kube.apiserver import Answer, Apiserver


def issued(token: object) -> Answer:
    return Answer(201, json.dumps({"kind": "TokenRequest", "status": {"token": token}}).encode())


class Clock:
    """Monotonic seconds that a test sets."""

    def __init__(self) -> None:
        self.s = 1e6

    def monotonic(self) -> float:
        return self.s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    set_clock = Clock()
    monkeypatch.setattr(account_token, "time", set_clock)
    return set_clock


def test_a_token_is_renewed_at_half_its_validity_and_used_nearly_until_its_end(
    kubernetes: Kubernetes, apiserver: Apiserver, clock: Clock
) -> None:
    token = AccountToken(kubernetes, ObjectName("shop", "beanscale-forward"))
    apiserver.answer = issued("first")
    assert [token(), token()] == ["Bearer first"] * 2
    (asked,) = apiserver.asked
    assert asked.line == "POST /api/v1/namespaces/shop/serviceaccounts/beanscale-forward/token HTTP/1.1"
    assert json.loads(asked.body)["spec"] == {"expirationSeconds": VALIDITY_S}
    clock.s += VALIDITY_S / 2 + 1
    apiserver.answer = Answer(503, b"{}")
    assert token() == "Bearer first"
    apiserver.answer = issued("second")
    assert token() == "Bearer second"
    clock.s += VALIDITY_S - 10
    apiserver.answer = Answer(503, b"{}")
    with pytest.raises(KubernetesError):
        token()


def test_others_use_a_valid_token_while_one_thread_waits_for_the_next(
    kubernetes: Kubernetes, apiserver: Apiserver, clock: Clock
) -> None:
    """Otherwise a kube-apiserver that doesn't respond would delay each forwarded request."""
    token = AccountToken(kubernetes, ObjectName("shop", "forward"))
    apiserver.answer = issued("first")
    token()
    clock.s += VALIDITY_S / 2 + 1
    apiserver.answer = issued("second")
    apiserver.answer.held = threading.Event()
    with ThreadPoolExecutor(1) as threads:
        renewing = threads.submit(token)
        while len(apiserver.asked) < 2:
            time.sleep(0.001)
        assert token() == "Bearer first"
        apiserver.answer.held.set()
        assert renewing.result() == "Bearer second"
    assert token() == "Bearer second"
    assert len(apiserver.asked) == 2


@pytest.mark.parametrize("status", [{"token": None}, {"token": ""}, {"token": 7}, {}, None, "Success"])
def test_a_response_without_a_token_is_an_error(kubernetes: Kubernetes, apiserver: Apiserver, status: object) -> None:
    apiserver.answer = Answer(body=json.dumps({"status": status}).encode())
    with pytest.raises(KubernetesError, match="issued no token for ServiceAccount shop/forward"):
        AccountToken(kubernetes, ObjectName("shop", "forward"))()
