"""Explanations as the server returns them, for tests."""

from typing import Any

Json = dict[str, Any]


def server(name: str = "eu", **fields: Any) -> Json:
    return {
        "name": name,
        "address": f"{name}.example:11300",
        "fresh": True,
        "ageSeconds": 0.8,
        "failure": None,
        "failingForSeconds": None,
    } | fields


def tube(name: str = "orders", on: str = "eu", **fields: int | None) -> Json:
    counts = {"ready": 3, "reserved": 1, "delayed": 0, "buried": 0, "watching": 2} | fields
    return {
        "server": on,
        "tube": name,
        "exists": True,
        "ageSeconds": 0.8,
        "fields": counts,
        "paused": False,
        "pauseSecondsLeft": 0,
    }


def item(value: str = "4", arithmetic: str = "3 + 1", **fields: Any) -> Json:
    return {
        "labels": {"tube": "orders"},
        "arithmetic": arithmetic,
        "value": value,
        "timestamp": "2026-10-12T08:00:00Z",
    } | fields


RULE: Json = {
    "name": "tube-orders",
    "builtIn": True,
    "meaning": "Jobs ready and reserved in the tube orders, over all servers.",
    "tubes": ["orders"],
    "servers": ["eu"],
    "formula": "ready + reserved",
    "unit": "jobs",
    "per": ["tube"],
    "onFailure": "fail",
    "maxAgeSeconds": 15,
    "namespaces": None,
}


def explanation(**fields: Any) -> Json:
    """Four jobs in the tube orders on one server."""
    return {
        "kind": "MetricExplanation",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metric": "tube-orders",
        "namespace": "shop",
        "selector": "",
        "now": "2026-10-12T08:00:01Z",
        "rule": RULE,
        "servers": [server()],
        "tubes": [tube()],
        "tubesOmitted": 0,
        "items": [item()],
        "error": None,
    } | fields
