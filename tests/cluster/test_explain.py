"""`beanscale explain` in the server's own pod: what a person reads who asks why."""

import json
from typing import Any

import pytest

from tests.cluster.commands import eventually
from tests.cluster.release import TUBE, Release

pytestmark = pytest.mark.timeout(600)


def explained(release: Release, metric: str, *options: str) -> str:
    command = (
        "exec",
        release.servers,
        "--",
        "beanscale",
        "explain",
        metric,
        "--namespace",
        release.namespace,
        *options,
    )
    return release.kubectl(*command)


def test_the_metric_its_arithmetic_and_the_step_that_decided(release: Release) -> None:
    with release.waiting_jobs(20):
        release.wait_for_pods_wanted(10)

        def all_is_told() -> bool:
            """By whichever replica: the other may have counted the jobs a moment later."""
            said = explained(release, f"tube-{TUBE}")
            assert "Jobs ready and reserved in the tube" in said
            assert "20 + 0" in said, said
            assert "beanscale-hello-world" in said
            assert "10 pods" in said, said
            return True

        eventually(all_is_told, "20 jobs explained")
    release.wait_for_pods_wanted(1)


def test_the_same_as_json(release: Release) -> None:
    document: Any = json.loads(explained(release, f"tube-{TUBE}", "--output", "json"))
    assert f"tube-{TUBE}" in json.dumps(document)
    assert "beanscale-hello-world" in json.dumps(document)


def test_a_misspelt_name_is_told_its_neighbours(release: Release) -> None:
    eventually(lambda: "beanstalkd_tube_jobs" in explained(release, "beanstalkd_tube_job"), "near matches")
