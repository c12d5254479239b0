"""What isn't a review, or contradicts itself, decides nothing."""

import json
from typing import Any

import pytest

from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.kube.reviews import (
    Condition,
    Decision,
    PathAttributes,
    ResourceAttributes,
    TokenOwner,
    User,
    review_access,
    review_token,
)
from tests.unit.kube.apiserver import Answer, Apiserver

EVE = User("eve", ("dev",), "7", (("scopes", ("a", "b")),))
METRICS = PathAttributes("/metrics", "get")
TOKEN_REVIEW = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview"}
ACCESS_REVIEW = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview"}


def answer(apiserver: Apiserver, review: dict[str, Any], **more: Any) -> None:
    apiserver.answer = Answer(201, json.dumps(review | more).encode())


def asked(apiserver: Apiserver) -> dict[str, Any]:
    spec: dict[str, Any] = json.loads(apiserver.asked[-1].body)["spec"]
    return spec


def test_a_review_contains_all_fields_of_user_and_resource(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    answer(apiserver, ACCESS_REVIEW, status={"allowed": True, "reason": "because", "evaluationError": "no role x"})
    labels = (Condition("a", "In", ("b", "c")), Condition("d", "Exists"))
    attributes = ResourceAttributes("shop", "list", "g", "v1", "things", labels)
    assert review_access(kubernetes, EVE, attributes) == Decision(True, "because", "no role x")
    assert asked(apiserver) == {
        "user": "eve",
        "groups": ["dev"],
        "uid": "7",
        "extra": {"scopes": ["a", "b"]},
        "resourceAttributes": {
            "namespace": "shop",
            "verb": "list",
            "group": "g",
            "version": "v1",
            "resource": "things",
            "labelSelector": {
                "requirements": [
                    {"key": "a", "operator": "In", "values": ["b", "c"]},
                    {"key": "d", "operator": "Exists"},
                ]
            },
        },
    }


@pytest.mark.parametrize(
    ("status", "allowed"),
    [({"allowed": True}, True), ({"allowed": False}, False), ({}, False), ({"denied": True}, False)],
)
def test_only_allowed_true_allows(
    kubernetes: Kubernetes, apiserver: Apiserver, status: dict[str, Any], allowed: bool
) -> None:
    answer(apiserver, ACCESS_REVIEW, status=status)
    assert review_access(kubernetes, EVE, METRICS).allowed is allowed


NONSENSE: list[dict[str, Any]] = [
    {"status": {"allowed": "true"}},
    {"status": {"allowed": 1}},
    {"status": {"allowed": True, "denied": True}},
    {"status": True},
    {"status": None},
    {},
    {"kind": "Status", "status": {"allowed": True}},
    {"kind": "TokenReview", "status": {"allowed": True}},
    {"apiVersion": "authorization.k8s.io/v1beta1", "status": {"allowed": True}},
    {"kind": None, "status": {"allowed": True}},
]


@pytest.mark.parametrize("nonsense", NONSENSE)
def test_a_response_other_than_an_access_review_is_an_error(
    kubernetes: Kubernetes, apiserver: Apiserver, nonsense: dict[str, Any]
) -> None:
    answer(apiserver, ACCESS_REVIEW | nonsense)
    with pytest.raises(KubernetesError, match="so no request is allowed"):
        review_access(kubernetes, EVE, METRICS)


INVALID_USERS: list[dict[str, Any]] = [
    {"status": {"authenticated": "true", "user": {"username": "eve"}}},
    {"status": {"authenticated": True}},
    {"status": {"authenticated": True, "user": {}}},
    {"status": {"authenticated": True, "user": {"username": ""}}},
    {"status": {"authenticated": True, "user": {"username": 7}}},
    {"status": {"authenticated": True, "user": "eve"}},
    {"status": {"authenticated": True, "user": {"username": "eve", "groups": "system:masters"}}},
    {"status": {"authenticated": True, "user": {"username": "eve", "groups": [7]}}},
    {"status": {"authenticated": True, "user": {"username": "eve", "extra": {"a": "b"}}}},
    {"status": {"authenticated": True, "user": {"username": "eve", "extra": ["a"]}}},
    {"kind": "SubjectAccessReview", "status": {"authenticated": True, "user": {"username": "eve"}}},
    {"status": []},
]


@pytest.mark.parametrize("nonsense", INVALID_USERS)
def test_a_response_other_than_a_token_review_is_an_error(
    kubernetes: Kubernetes, apiserver: Apiserver, nonsense: dict[str, Any]
) -> None:
    answer(apiserver, TOKEN_REVIEW | nonsense)
    with pytest.raises(KubernetesError, match="so no request is allowed"):
        review_token(kubernetes, "abc")


def test_a_token_review_yields_all_fields_of_the_user(kubernetes: Kubernetes, apiserver: Apiserver) -> None:
    data = {"username": "eve", "groups": ["dev"], "uid": "7", "extra": {"scopes": ["a", "b"]}}
    answer(apiserver, TOKEN_REVIEW, status={"authenticated": True, "user": data})
    assert review_token(kubernetes, "abc") == TokenOwner(EVE)
    assert asked(apiserver) == {"token": "abc"}


@pytest.mark.parametrize("code", ["no", {}, None, 0, -1])
def test_a_status_with_an_invalid_code_is_an_error(kubernetes: Kubernetes, apiserver: Apiserver, code: Any) -> None:
    apiserver.answer = Answer(403, json.dumps({"kind": "Status", "code": code}).encode())
    with pytest.raises(KubernetesError):
        review_access(kubernetes, EVE, METRICS)


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"1e999"])
def test_a_body_that_is_no_object_is_an_error(kubernetes: Kubernetes, apiserver: Apiserver, body: bytes) -> None:
    apiserver.answer = Answer(201, body)
    with pytest.raises(KubernetesError, match="something other than a JSON object"):
        review_access(kubernetes, EVE, METRICS)
