"""What pods and helm say about an installation, and images as the chart's values. Pure."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

type Json = Mapping[str, Any]

_NO_IMAGE = {"ErrImagePull", "ImagePullBackOff", "ErrImageNeverPull", "InvalidImageName"}
"""Why a container waits, in the kubelet's words, when its image is what is missing."""

_IMAGE = re.compile(r"(?P<repository>[^@]+?)(?::(?P<tag>[^:/@]+))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?")


def pods_in_words(pods: Sequence[Json]) -> str:
    """How many are ready, and what the others wait for: at most two of them."""
    if not pods:
        return "no pods yet"
    waiting = [f"{pod['metadata']['name']}: {_waits_for(pod)}" for pod in pods if not _ready(pod)]
    return "; ".join([f"{len(pods) - len(waiting)} of {len(pods)} pods ready", *waiting[:2]])


def all_ready(pods: Sequence[Json]) -> bool:
    """Also when there are none."""
    return all(map(_ready, pods))


def unpullable(pods: Iterable[Json]) -> str | None:
    """The first pod whose image can't be had, and why, in a sentence."""
    for pod in pods:
        for status in pod.get("status", {}).get("containerStatuses") or ():
            waiting = status["state"].get("waiting") or {}
            if waiting.get("reason") in _NO_IMAGE:
                return f"the cluster has no image {status['image']} and can't pull it (pod {pod['metadata']['name']})"
    return None


def image_values(key: str, reference: str) -> list[str]:
    """`REPOSITORY[:TAG][@DIGEST]` as options for helm, below the chart's `key`. Raises ValueError."""
    parts = _IMAGE.fullmatch(reference)
    if not parts:
        raise ValueError(f"{reference!r} is no image: write REPOSITORY:TAG, e.g. registry.example.com/beanscale:0.2.0")
    return [f"--set-string={key}.{part}={value}" for part, value in parts.groupdict().items() if value]


def helm_reason(said: str) -> str:
    """Helm's own error, of several lines where it has them (the chart's refusals do), without its place there."""
    _, _, reason = said.partition("Error: ")
    lines = [line for line in (reason or said).splitlines() if line.strip()]
    if lines[1:] and "execution error at" in lines[0]:
        del lines[0]
    return "\n  ".join(lines) or "helm ended without a word"


def _ready(pod: Json) -> bool:
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _waits_for(pod: Json) -> str:
    status = pod.get("status", {})
    if pod["metadata"].get("deletionTimestamp"):
        return "is leaving"
    for container in status.get("containerStatuses") or ():
        if waiting := container["state"].get("waiting"):
            return str(waiting.get("reason", "waits"))
    for condition in status.get("conditions") or ():
        if condition["type"] == "PodScheduled" and condition["status"] != "True":
            return f"has no node: {condition.get('message', condition.get('reason', ''))}"
    return "starts" if status.get("phase", "Pending") in {"Pending", "Running"} else str(status["phase"])
