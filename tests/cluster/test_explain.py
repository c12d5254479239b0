"""`beanscale explain` in the server's own pod."""

import json
import re
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

        def explains_20_jobs() -> bool:
            """Either replica may respond, and one may read the jobs a moment later."""
            text = explained(release, f"tube-{TUBE}")
            assert "Jobs ready and reserved in the tube" in text
            assert "20 + 0" in text, text
            assert "beanscale-hello-world" in text
            assert "10 pods" in text, text
            return True

        eventually(explains_20_jobs, "20 jobs explained")
        text = " ".join(explained(release, f"tube-{TUBE}").split())
        assert "beanscale scales up within a second" in text
        assert re.search(r"ago Scaled \(beanscale\): Scaled Deployment/beanscale-hello-world from \d to \d", text), text
    release.wait_for_pods_wanted(1)


def test_the_same_as_json(release: Release) -> None:
    document: Any = json.loads(explained(release, f"tube-{TUBE}", "--output", "json"))
    assert f"tube-{TUBE}" in json.dumps(document)
    assert "beanscale-hello-world" in json.dumps(document)


def test_a_misspelled_name_gets_similar_ones(release: Release) -> None:
    eventually(lambda: "beanstalkd_tube_jobs" in explained(release, "beanstalkd_tube_job"), "near matches")
