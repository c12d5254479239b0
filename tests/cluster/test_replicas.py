"""Two servers that look like one."""

from pathlib import Path

import pytest

from tests.cluster.observing import constant_requests
from tests.cluster.release import TUBE, Release

pytestmark = pytest.mark.timeout(600)


def test_both_replicas_serve_the_same_certificate(release: Release) -> None:
    certificates = release.served_certificates()
    assert len(certificates) == 2
    assert len(set(certificates)) == 1


def test_no_request_is_lost_while_a_replica_terminates(release: Release, pki: Path) -> None:
    leaving = release.pods("server")[0]["metadata"]["name"]
    with constant_requests(pki, release.metric_path(f"tube-{TUBE}")) as answers:
        release.kubectl("delete", "pod", leaving)
        release.wait_for_rollout()
    assert answers.failures == []
    assert answers.good > 50
