"""Allowed and forbidden flows, with kube-network-policies, which decides the first packet of each connection."""

import json
import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.cluster.commands import eventually, ran
from tests.cluster.release import PATIENCE, VERSION, Release
from tests.cluster.workloads import restricted_pod

pytestmark = pytest.mark.timeout(600)

ELSEWHERE = "beanscale-test-elsewhere"
"""The namespace of pods that don't belong to the release."""
TRY = """
import socket, sys
from concurrent.futures import ThreadPoolExecutor
def passes(target):
    host, _, port = target.rpartition(":")
    try:
        socket.create_connection((host, int(port)), 3).close()
    except ConnectionRefusedError:  # nothing listens, so the packet arrived
        return True
    except TimeoutError:
        return False
    return True
targets = sys.argv[1:]
print(*(target for target, passed in zip(targets, ThreadPoolExecutor(40).map(passes, targets)) if passed))
"""
"""Prints the targets to which a connection isn't dropped."""


@dataclass(frozen=True)
class Pods:
    """The release's pods, and others; name → namespace and name, and address."""

    names: Mapping[str, tuple[str, str]]
    addresses: Mapping[str, str]

    def reached(self, source: str, *targets: str) -> set[str]:
        """Return to which of the targets, NAME:PORT, a connection from `source` isn't dropped."""
        by_address = {}
        for target in targets:
            name, _, port = target.partition(":")
            by_address[f"{self.addresses[name]}:{port}"] = target
        namespace, pod = self.names[source]
        printed = ran("kubectl", "exec", f"--namespace={namespace}", pod, "--", "python", "-c", TRY, *by_address)
        return {by_address[each] for each in printed.split()}


def pod(namespace: str, name: str) -> Mapping[str, Any]:
    spec = restricted_pod("sleeper", f"beanscale:{VERSION}", command=["sleep", "infinity"])
    metadata = {"name": name, "namespace": namespace, "labels": {"app": name}}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}


PODS = "10.244.0.0/24"
FORWARDED = ["-m", "owner", "!", "--uid-owner", "0"]
"""Not from the node's own kubelet and kube-apiserver, whose packets no policy restricts."""
RULES = (
    ["POSTROUTING", "--source", PODS, *FORWARDED],
    ["POSTROUTING", "--destination", PODS, *FORWARDED],
    ["INPUT", "--source", PODS],
)
"""Packets from and to pods, after the resolution of Services."""
TO_QUEUE = ["-m", "conntrack", "--ctstate", "NEW", "-j", "NFQUEUE", "--queue-num", "100", "--queue-bypass"]


@contextmanager
def enforcing(pods: Pods) -> Iterator[None]:
    """Enforce NetworkPolicies; afterwards nothing is left of it.

    The rules that kube-network-policies makes itself require nft_queue, which not every kernel has, and omit INPUT.
    """

    def iptables(*arguments: str) -> None:
        ran("iptables", "--wait", "--table", "mangle", *arguments)

    def stranger_reaches_beanstalkd() -> bool:
        return bool(pods.reached("stranger", "beanstalkd:11300"))

    assert stranger_reaches_beanstalkd()
    with ExitStack() as stack:
        process = stack.enter_context(subprocess.Popen(["network-policies", os.environ["KUBECONFIG"], "node0"]))
        stack.callback(process.terminate)
        for rule in RULES:
            iptables("--append", *rule, *TO_QUEUE)
            stack.callback(iptables, "--delete", *rule, *TO_QUEUE)
        eventually(lambda: process.poll() is None and not stranger_reaches_beanstalkd(), "policies are enforced")
        yield
    assert stranger_reaches_beanstalkd()


@pytest.fixture(scope="module")
def pods(release: Release) -> Iterator[Pods]:
    """A stranger in another namespace and a neighbor in the release's, with enforced policies.

    The release's policies allow connections to kube-apiserver and DNS at the node's address only.
    """
    others = {"stranger": (ELSEWHERE, "stranger"), "neighbor": (release.namespace, "neighbor")}
    path = 'jsonpath={.items[0].status.addresses[?(@.type=="InternalIP")].address}'
    node = ran("kubectl", "get", "nodes", f"--output={path}")
    ran("kubectl", "delete", "namespace", ELSEWHERE, "--ignore-not-found", "--timeout=240s", within_s=270)
    ran("kubectl", "create", "namespace", ELSEWHERE)
    try:
        manifests = "\n---\n".join(json.dumps(pod(*each)) for each in others.values())
        ran("kubectl", "create", "--filename=-", given=manifests)
        for namespace, name in others.values():
            Release(namespace).wait(f"pod/{name}", "condition=Ready")
        exact = {"apiServerCIDRs": [f"{node}/32"], "dnsTo": [{"ipBlock": {"cidr": f"{node}/32"}}]}
        release.upgrade({"networkPolicy": exact})
        own = {part: (release.namespace, release.pods(part)[0]["metadata"]["name"]) for part in PARTS}
        names = own | others
        addresses = {
            name: Release(namespace).read(f"pod/{pod_name}")["status"]["podIP"]
            for name, (namespace, pod_name) in names.items()
        }
        found = Pods(names, addresses | {"node": node})
        with enforcing(found):
            yield found
    finally:
        release.helm("rollback", "1", "--wait", "--timeout", PATIENCE)
        release.kubectl("delete", "pod", "neighbor", "--ignore-not-found")
        ran("kubectl", "delete", "namespace", ELSEWHERE, "--timeout=240s", within_s=270)


PARTS = ("server", "console", "hello-world", "beanstalkd")
TO_PARTS = [f"{part}:{port}" for part in PARTS for port in (8080, 10250, 11300)]
TO_OTHERS = [f"{other}:{port}" for other in ("stranger", "node") for port in (53, 443, 6443, 8443, 10250, 11300)]
TO_API_SERVER = {"node:443", "node:6443", "node:8443"}


@pytest.mark.parametrize(
    ("source", "reached"),
    [
        ("stranger", {"server:10250", "console:8080", "hello-world:8080"}),
        ("neighbor", {"server:10250", "console:8080", "hello-world:8080", "beanstalkd:11300"}),
        ("server", {"beanstalkd:11300", "node:53", *TO_API_SERVER}),
        ("console", {"beanstalkd:11300", "node:53", *TO_API_SERVER}),
        ("hello-world", {"beanstalkd:11300", "node:53"}),
    ],
)
def test_only_the_documented_flows_pass(pods: Pods, source: str, reached: set[str]) -> None:
    """Each pod tries all other parts of the release; the release's pods also try a pod and the node."""
    targets = [each for each in TO_PARTS if not each.startswith(f"{source}:")]
    if source in PARTS:
        targets += TO_OTHERS
    assert pods.reached(source, *targets) == reached


def test_beanstalkd_opens_no_connections(pods: Pods) -> None:
    namespace, pod = pods.names["beanstalkd"]
    code = f"timeout 3 bash -c '</dev/tcp/{pods.addresses['node']}/6443'; echo $?"
    assert ran("kubectl", "exec", f"--namespace={namespace}", pod, "--", "bash", "-c", code).strip() == "124"


def test_the_release_works_with_enforced_policies(pods: Pods, release: Release) -> None:  # noqa: ARG001 - enforced
    status, printed = release.tested()
    assert status == 0, printed
