"""onFailure during an outage, with real autoscalers: with pods and without, until it ends, across a restart."""

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.cluster.commands import eventually, run
from tests.cluster.observing import Timeline
from tests.cluster.release import PATIENCE, Release
from tests.cluster.workloads import autoscaler, sleeper, wait_for_wanted

pytestmark = pytest.mark.timeout(900)

TUBE = "policies"
MAX_AGE_S, HOLD_S = 3, 25
RULES: Mapping[str, Any] = {"fails": "fail", "holds": {"hold": f"{HOLD_S}s"}, "is-six": {"value": 6}}
"""Rule → its policy."""
SCALED = [f"{rule}-from-{least}" for rule in RULES for least in (0, 1)]
"""For each policy, one autoscaler with minReplicas 0 and one with 1."""
SYNC_S = 5
"""The sync period of this cluster's HPA controller."""


@pytest.fixture(scope="module")
def policies(release: Release) -> Iterator[Release]:
    """The release with these rules and autoscalers, all at minReplicas; rolled back afterwards."""
    rules = [{"name": rule, "tubes": [TUBE], "maxAge": f"{MAX_AGE_S}s", "onFailure": RULES[rule]} for rule in RULES]
    scalers = [autoscaler(name, metric=name.partition("-from-")[0], minReplicas=int(name[-1])) for name in SCALED]
    release.upgrade({"metrics": rules, "autoscalers": scalers, "extraObjects": [sleeper(name) for name in SCALED]})
    wait_for_rest(release)
    yield release
    release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)


def wait_for_rest(release: Release, wanted: Mapping[str, Timeline] | None = None) -> None:
    asked = release.metric_path("fails")
    eventually(lambda: all('"items"' in text for text in release.asked_of_each(asked)), "both servers read beanstalkd")
    for least in (0, 1):
        wait_for_wanted(release, [name for name in SCALED if name.endswith(str(least))], least)
    for name, timeline in (wanted or {}).items():
        timeline.wait_for(name[-1])


@dataclass
class Answers:
    """Results of each rule, change by change: the value, or the error."""

    seen: dict[str, list[tuple[float, str]]] = field(default_factory=lambda: {rule: [] for rule in RULES})
    oldest_s: dict[str, float] = field(default_factory=lambda: dict.fromkeys(RULES, 0.0))
    """Minimum age of the readings when they were queried and served, because their times are whole seconds."""

    def said(self, rule: str) -> list[str]:
        return [text for _, text in self.seen[rule]]

    def at_s(self, rule: str, position: int) -> float:
        return self.seen[rule][position][0]


@contextmanager
def asking(release: Release) -> Iterator[Answers]:
    """Query each rule a few times a second."""
    answers, over = Answers(), threading.Event()

    def ask() -> None:
        while not over.wait(0.2):
            for rule in RULES:
                asked_at = datetime.now(UTC)
                done = run("kubectl", "get", "--raw", release.metric_path(rule))
                item = json.loads(done.stdout)["items"][0] if done.returncode == 0 else {}
                text = item["value"] if item else kind_of(done.stderr)
                if text == "12":
                    age = asked_at - datetime.fromisoformat(item["timestamp"])
                    answers.oldest_s[rule] = max(answers.oldest_s[rule], age.total_seconds() - 1)
                if answers.said(rule)[-1:] != [text]:
                    answers.seen[rule].append((time.monotonic(), text))

    asker = threading.Thread(target=ask)
    asker.start()
    try:
        eventually(lambda: all(answers.seen.values()), "first answers")
        yield answers
    finally:
        over.set()
        asker.join(120)


def kind_of(said: str) -> str:
    """Return the part of an error that doesn't change every second."""
    if "can't be read" not in said:
        return said
    return "the hold has expired" if ") expired" in said else "can't be read"


@contextmanager
def outage(release: Release) -> Iterator[float]:
    """Stop beanstalkd, not before the yielded moment (monotonic seconds)."""
    stopped_s = time.monotonic()
    release.kubectl("scale", release.beanstalkds, "--replicas=0")
    release.wait("pod/beanscale-beanstalkd-0", "delete")
    try:
        yield stopped_s
    finally:
        release.kubectl("scale", release.beanstalkds, "--replicas=1")
        release.wait(release.beanstalkds, "jsonpath={.status.readyReplicas}=1")


@contextmanager
def watched(release: Release) -> Iterator[Mapping[str, Timeline]]:
    """Record the number of pods that each autoscaler decides on."""
    with ExitStack() as stack:
        yield {
            name: stack.enter_context(Timeline(release, f"hpa/{name}", path="{.status.desiredReplicas}"))
            for name in SCALED
        }


def scaling_active(release: Release, name: str) -> tuple[str, str]:
    """Return status and message of that condition."""
    conditions = release.read(f"hpa/{name}")["status"]["conditions"]
    (active,) = (each for each in conditions if each["type"] == "ScalingActive")
    return active["status"], active["message"]


def put(release: Release, jobs: int) -> None:
    with release.beanstalkd() as client:
        client.use(TUBE)
        for _ in range(jobs):
            client.put(b"waits")


def test_an_idle_autoscaler_starts_pods_in_an_outage_only_with_a_fixed_value(policies: Release) -> None:
    with watched(policies) as wanted, outage(policies):
        wait_for_wanted(policies, ["is-six-from-0", "is-six-from-1"], 3)
        eventually(lambda: scaling_active(policies, "fails-from-1")[0] == "False", "the condition ScalingActive")
        time.sleep(2 * SYNC_S)
        assert said(wanted) == {
            "fails-from-0": ["0"],
            "fails-from-1": ["1"],
            "holds-from-0": ["0"],
            "holds-from-1": ["1"],
            "is-six-from-0": ["0", "3"],
            "is-six-from-1": ["1", "3"],
        }
    wait_for_rest(policies)


def test_an_outage_keeps_the_pods_unless_the_policy_changes_the_value(policies: Release) -> None:
    """12 jobs, so that 6 can only come from `is-six`. After the outage there are none."""
    put(policies, 12)
    wait_for_wanted(policies, SCALED, 6)
    with watched(policies) as wanted, asking(policies) as answers:
        with outage(policies) as stopped_s:
            wait_for_wanted(policies, ["is-six-from-0", "is-six-from-1"], 3)
            eventually(
                lambda: answers.said("holds")[-1] == "the hold has expired", "the hold ends", within_s=HOLD_S + 60
            )
            eventually(
                lambda: ") expired" in scaling_active(policies, "holds-from-1")[1],
                "the condition shows that the hold expired",
            )
            status, message = scaling_active(policies, "fails-from-0")
            assert status == "False"
            assert "can't be read: connection refused; last read " in message
            assert said(wanted) == {name: ["6", "3"] if name.startswith("is-six") else ["6"] for name in SCALED}
        wait_for_rest(policies, wanted)
    assert answers.said("fails")[:2] == ["12", "can't be read"]
    assert answers.said("holds")[:2] == ["12", "the hold has expired"]
    assert answers.said("is-six")[:2] == ["12", "6"]
    for rule, after_s in (("fails", MAX_AGE_S), ("is-six", MAX_AGE_S), ("holds", MAX_AGE_S + HOLD_S)):
        assert answers.at_s(rule, 1) > stopped_s + after_s - 2, rule
        assert answers.oldest_s[rule] <= after_s, rule
    assert {text for rule in RULES for text in answers.said(rule)} <= {
        "12",
        "6",
        "0",
        "can't be read",
        "the hold has expired",
    }
    for name, counts in said(wanted).items():
        assert set(counts) == ({"6", "3", name[-1]} if name.startswith("is-six") else {"6", name[-1]}), name


def test_a_restart_in_an_outage_reports_no_number(policies: Release) -> None:
    put(policies, 12)
    wait_for_wanted(policies, SCALED, 6)
    with watched(policies) as wanted, outage(policies):
        policies.kubectl("rollout", "restart", policies.servers)
        policies.wait_for_rollout()
        holds = ("kubectl", "get", "--raw", policies.metric_path("holds"))
        eventually(lambda: "no usable reading" in run(*holds).stderr, "those that knew it have left")
        wait_for_wanted(policies, ["is-six-from-0", "is-six-from-1"], 3)
        time.sleep(2 * SYNC_S)
        eventually(
            lambda: "no usable reading" in scaling_active(policies, "holds-from-0")[1], "the condition ScalingActive"
        )
        assert scaling_active(policies, "holds-from-0")[0] == "False"
        for name, counts in said(wanted).items():
            assert counts[0] == "6", name
            assert not {"0", "1"} & set(counts), name
    wait_for_rest(policies)


def said(wanted: Mapping[str, Timeline]) -> Mapping[str, Sequence[str]]:
    return {name: timeline.said() for name, timeline in wanted.items()}
