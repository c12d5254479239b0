"""Certificates of a minute and CAs of three: all roll over under constant traffic, and what is broken heals."""

import re
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from app.kube.certificates.authority import read_bundle
from tests.cluster.commands import eventually, run
from tests.cluster.observing import Answers, Timeline, constant_requests
from tests.cluster.release import API_SERVICE, CHART, PATIENCE, TUBE, Release

pytestmark = pytest.mark.timeout(1200)

LIFETIMES = "tls.self.duration=60s,tls.self.caDuration=180s"
SECRET = "secret/beanscale-serving-cert"  # noqa: S105 - a name
HEALED_WITHIN_S = 30
"""The servers look every five seconds at such lives, on a machine that may stand still meanwhile."""


@dataclass
class Rollover:
    """What was seen while it went on."""

    answers: Answers
    active: list[str] = field(default_factory=list)
    """Whether the autoscaler got its metric."""
    certificates: set[str] = field(default_factory=set)
    authorities: list[int] = field(default_factory=list)
    """Serial numbers, in the order in which they came."""

    def look(self, release: Release) -> bool:
        """Whether two CAs were replaced and the last one is alone."""
        self.certificates.update(release.served_certificates())
        present = [each.serial_number for each in read_bundle(release.ca_bundle().encode())]
        self.authorities += [serial for serial in reversed(present) if serial not in self.authorities]
        assert known_to_kubectl(release)
        time.sleep(1)
        return len(self.authorities) >= 3 and present == self.authorities[2:3]


def known_to_kubectl(release: Release) -> bool:
    return run("kubectl", "get", f"tube-{TUBE}", f"--namespace={release.namespace}").returncode == 0


@pytest.fixture(scope="module")
def rollover(release: Release, pki: Path) -> Iterator[Rollover]:
    """The CA of 365 days is replaced at once, because its lifetime is too long; the next one two minutes later."""
    path = release.metric_path(f"tube-{TUBE}")
    eventually(lambda: known_to_kubectl(release), "kube-apiserver asks each minute what there is", within_s=180)
    release.wait(release.autoscaler, "condition=ScalingActive=True")
    active = Timeline(release, release.autoscaler, path='{.status.conditions[?(@.type=="ScalingActive")].status}')
    with constant_requests(pki, path) as answers, active:
        rollover = Rollover(answers)
        rollover.look(release)
        release.helm("upgrade", CHART, "--reuse-values", "--set", LIFETIMES, "--wait", "--timeout", PATIENCE)
        eventually(lambda: rollover.look(release), "two CAs replaced", within_s=500)
        rollover.active = active.said()
    yield rollover
    release.uninstall()  # the next release begins with certificates that last


def test_everything_is_renewed_and_no_request_fails(rollover: Rollover) -> None:
    assert rollover.answers.failures == []
    assert rollover.answers.good > 1000
    assert set(rollover.active) == {"True"}
    assert len(rollover.certificates) >= 4
    assert len(rollover.authorities) == 3


@pytest.mark.usefixtures("rollover")
def test_each_renewal_is_in_the_metrics_and_in_the_log(release: Release) -> None:
    done = changes(release)
    assert done["renewed"] >= 3
    assert (done["authority-renewed"], done["authority-retired"]) >= (2, 1)
    exposition = figures(release)[0]
    for end in ("serving_certificate", "serving_ca"):
        (left_s,) = re.findall(rf"^beanscale_{end}_expiry_timestamp_seconds (\S+)$", exposition, re.MULTILINE)
        assert 0 < float(left_s) - time.time() < 180
    assert events(release)["serving certificate stored"] >= 3


@dataclass(frozen=True)
class Fault:
    """Something damaged."""

    command: tuple[str, ...]
    costs_requests: bool
    change: str
    event: str
    remark: str


FAULTS = {
    "a deleted Secret": Fault(
        ("delete", SECRET),
        costs_requests=False,
        change="secret-recreated",
        event="serving certificate Secret was missing, recreating it",
        remark="the Secret was missing and was recreated",
    ),
    "a corrupt Secret": Fault(
        ("patch", SECRET, "--type=merge", '--patch={"data": {"tls.key": "Z2FyYmFnZQ=="}}'),
        costs_requests=False,
        change="restored",
        event="serving certificate invalid, replacing it",
        remark="the certificate in the Secret was missing or invalid and was restored",
    ),
    "a wiped caBundle": Fault(
        ("patch", API_SERVICE, "--type=merge", '--patch={"spec": {"caBundle": null}}'),
        costs_requests=True,
        change="bundle-published",
        event="CA published",
        remark="the CA was missing in the APIService and was published",
    ),
}


@pytest.mark.usefixtures("rollover")
@pytest.mark.parametrize("what", FAULTS)
def test_damage_is_repaired_and_logged(release: Release, pki: Path, what: str) -> None:
    fault = FAULTS[what]
    done_before, told_before = changes(release)[fault.change], events(release)[fault.event]
    with constant_requests(pki, release.metric_path(f"tube-{TUBE}")) as answers:
        release.kubectl(*fault.command)
        eventually(lambda: changes(release)[fault.change] > done_before, f"{what} mended", HEALED_WITHIN_S)
        eventually(lambda: is_whole(release), f"all in order after {what}", HEALED_WITHIN_S)
        good = answers.good
        eventually(lambda: answers.good > good + 30, "requests answered again", HEALED_WITHIN_S)
    assert fault.costs_requests or answers.failures == []
    assert events(release)[fault.event] > told_before
    ages_s = [int(age) for remark in remarks(release) for age in re.findall(rf"{fault.remark}\D* (\d+) s ago", remark)]
    assert min(ages_s) < 2 * HEALED_WITHIN_S


def is_whole(release: Release) -> bool:
    """The Secret has all its parts, and kube-apiserver reaches the servers, which it verifies by the bundle."""
    release.wait(API_SERVICE, "condition=Available", within_s=HEALED_WITHIN_S)
    return sorted(release.secret()) == ["ca.crt", "ca.key", "tls.crt", "tls.key"] and release.ca_bundle() != ""


def figures(release: Release) -> list[str]:
    return release.asked_of_each("/metrics")


def remarks(release: Release) -> list[str]:
    return release.asked_of_each("/readyz?verbose")


def changes(release: Release) -> Counter[str]:
    """What all servers did for the certificate, by kind."""
    total = Counter[str]()
    for exposition in figures(release):
        for change, number in re.findall(
            r'^beanscale_serving_certificate_changes_total\{change="([a-z-]+)"\} (\S+)$', exposition, re.MULTILINE
        ):
            total[change] += int(float(number))
    return total


def events(release: Release) -> Counter[str]:
    """What all servers logged, by event."""
    names = [pod["metadata"]["name"] for pod in release.pods("server")]
    return Counter(event["event"] for name in names for event in release.logs(name))
