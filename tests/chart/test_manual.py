"""The README and the manual: their examples render, and their messages are those of the programs."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.hpa.obstacles import REASONS
from tests.chart.conftest import Chart

TOP = Path(__file__).parents[2]
DOCUMENTS = (TOP / "README.md", TOP / "chart/README.md")
KUBERNETES = (
    "missing property",
    "no metrics returned from external metrics API",
    'forbidden: User "system:serviceaccount:kube-system:horizontal-pod-autoscaler" cannot list',
)
"""Messages that Kubernetes and Helm print."""


def examples() -> list[Any]:
    """Return the values in the documents' YAML blocks, without manifests."""
    blocks = [block for each in DOCUMENTS for block in re.findall(r"```yaml\n(.*?)```", each.read_text(), re.DOTALL)]
    values = [yaml.safe_load(block) for block in blocks]
    return [each for each in values if not is_hpa(each) and "kind" not in each]


def is_hpa(block: Any) -> bool:
    return any(isinstance(metric, dict) and "external" in metric for metric in block.get("metrics", []))


@pytest.mark.parametrize("values", examples(), ids="+".join)
def test_an_example_renders(chart: Chart, values: Any) -> None:
    chart.render(values)


def test_the_examples_in_comments_of_values_render(chart: Chart) -> None:
    def uncomment(match: re.Match[str]) -> str:
        indent, key, lines = match.groups()
        return f"{indent}{key}:\n{lines.replace('# ', '')}"

    text, number = re.subn(
        r"^( *)(\w+): \[\]\n((?:\1# (?:- |  ).*\n)+)",
        uncomment,
        (chart.path / "values.yaml").read_text(),
        flags=re.MULTILINE,
    )
    assert number >= 8
    chart.render(yaml.safe_load(text))


def platform(name: str) -> Any:
    """Return the YAML block of a paragraph of "Platforms"."""
    paragraph = (TOP / "chart/README.md").read_text().partition(f"\n**{name}")[2]
    return yaml.safe_load(paragraph.partition("```yaml\n")[2].partition("```")[0])


def test_on_fargate_the_server_leaves_the_kubelet_its_port(chart: Chart) -> None:
    objects = chart.render(platform("EKS on Fargate"))
    (container,) = objects.pods()["server"]["spec"]["containers"]
    assert container["ports"] == [{"name": "https", "containerPort": 10260, "protocol": "TCP"}]
    assert "--port=10260" in container["args"]
    assert "hostNetwork" not in objects.pods()["server"]["spec"]
    (rule,) = objects.one("NetworkPolicy", "beanscale-server")["spec"]["ingress"]
    assert rule["ports"] == [{"port": 10260, "protocol": "TCP"}]


def test_on_the_nodes_network_updates_and_beanstalkd_fit(chart: Chart) -> None:
    objects = chart.render(platform("Control planes that reach nodes but not pods"))
    spec = objects.pods()["server"]["spec"]
    assert (spec["hostNetwork"], spec["dnsPolicy"]) == (True, "ClusterFirstWithHostNet")
    strategy = objects.one("Deployment", "beanscale-server")["spec"]["strategy"]["rollingUpdate"]
    assert strategy == {"maxSurge": 0, "maxUnavailable": 1}
    (rule,) = objects.one("NetworkPolicy", "beanscale-beanstalkd")["spec"]["ingress"]
    assert {"ipBlock": {"cidr": "192.0.2.0/24"}} in rule["from"]


def test_on_openshift_no_pod_asks_for_a_user_or_group(chart: Chart) -> None:
    for pod in chart.render(platform("OpenShift")).pods().values():
        security = pod["spec"]["securityContext"] | pod["spec"]["containers"][0]["securityContext"]
        assert not {"runAsUser", "runAsGroup", "fsGroup"} & security.keys()
        assert (security["runAsNonRoot"], security["allowPrivilegeEscalation"]) == (True, False)


def test_on_autopilot_requests_are_at_its_minimum(chart: Chart) -> None:
    pods = chart.render(platform("GKE Autopilot")).pods()
    assert pods.keys() == {"server", "console", "beanstalkd", "hello-world", "smoke"}
    for pod in pods.values():
        assert pod["spec"]["containers"][0]["resources"]["requests"] == {"cpu": "250m", "memory": "512Mi"}
    assert not any("hostNetwork" in pod["spec"] for pod in pods.values())


def test_argo_cd_ignores_what_is_written_at_runtime(chart: Chart) -> None:
    spec = platform("Argo CD")["spec"]
    assert spec["source"]["helm"]["skipTests"] is True
    objects = chart.render(None, "--skip-tests")
    assert not any("helm.sh/hook" in each["metadata"].get("annotations", {}) for each in objects)
    for ignored in spec["ignoreDifferences"]:
        rendered: Any = objects.one(ignored["kind"], ignored["name"])
        (pointer,) = ignored["jsonPointers"]
        *above, field = pointer.strip("/").split("/")
        for key in above:
            rendered = rendered[key]
        assert field not in rendered
    empty = [each for each in objects if each["kind"] in {"Secret", "ConfigMap"} and "data" not in each]
    assert {each["name"] for each in spec["ignoreDifferences"] if each["kind"] != "APIService"} == {
        each["metadata"]["name"] for each in empty
    }


def test_hpas_of_users_get_the_annotations_and_permissions_that_the_chart_renders(chart: Chart) -> None:
    section = (TOP / "chart/README.md").read_text().partition("## Scale within a second")[2].partition("\n## ")[0]
    values, *manifests = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)]
    objects = chart.render(values)
    theirs = {each["kind"]: each for each in manifests}
    ours = {
        each["kind"]: each for each in objects if each["metadata"].get("namespace") == "shop" and each["kind"] in theirs
    }
    assert ours.keys() == {"HorizontalPodAutoscaler", "Role", "RoleBinding"}
    assert ours["Role"]["rules"] == theirs["Role"]["rules"]
    assert ours["RoleBinding"]["subjects"] == theirs["RoleBinding"]["subjects"]
    hpa, other = (each["HorizontalPodAutoscaler"] for each in (ours, theirs))
    assert hpa["metadata"]["annotations"] == other["metadata"]["annotations"]
    assert all(hpa["spec"][key] == other["spec"][key] for key in ("scaleTargetRef", "minReplicas", "maxReplicas"))


def cells(column: int, first: str) -> set[str]:
    """Return what is in backticks in a column of the manual's table whose first row begins with `first`."""
    table = (TOP / "chart/README.md").read_text().partition(f"\n{first}")[2].partition("\n\n")[0]
    return {cell for row in table.splitlines()[2:] for cell in re.findall(r"`([^`]+)`", row.split(" | ")[column])}


def test_all_alerts_and_reasons_are_listed(chart: Chart) -> None:
    (rule,) = chart.render({"prometheusRule": {"enabled": True}}).of("PrometheusRule")
    assert cells(0, "| alert | severity |") == {each["alert"] for each in rule["spec"]["groups"][0]["rules"]}
    assert cells(1, "| message | reason | fix |") == set(REASONS)


def test_helm_shows_the_manual(chart: Chart) -> None:
    assert chart.helm("show", "readme", str(chart.path)).stdout == (TOP / "chart/README.md").read_text() + "\n"


def quoted() -> list[str]:
    """Return the literal parts of the messages that the documents quote; … and '…' stand for variable parts."""
    lines = [line for each in DOCUMENTS for line in each.read_text().splitlines()]
    rows = ("| HPA:", "| Event:", "| log:", "| the console", "| `beanstalkd …", "| `helm install`:")
    table = [line.partition(" | ")[0] for line in lines if line.startswith(rows)]
    table += [line.partition("`: ")[0] + "`" for line in lines if line.startswith("- `") and "…" in line]
    messages = [message for line in table for message in re.findall(r"`([^`]+)`", line) if message != "helm install"]
    parts = [part.strip(" ;:,'()") for message in messages for part in re.split(r"…|'[^']*'", message)]
    return [part for part in parts if len(part) > len("its tubes") and part not in KUBERNETES]


def sources() -> str:
    """Return the programs' text, with `…` for variable parts and without breaks inside messages."""
    files = [*TOP.glob("app/**/*.py"), *TOP.glob("chart/templates/**/*.*")]
    text = re.sub(r'"\s*\n\s*f?"', "", "\n".join(each.read_text() for each in files))
    return re.sub(r"\{[^{}]*\}|%[sdq]", "…", text)


def test_messages_are_quoted_exactly() -> None:
    text = sources()
    assert len(quoted()) >= 10
    assert [part for part in quoted() if part.removesuffix(": connection refused") not in text] == []


def anchors(document: str) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("name", ["README.md", "chart/README.md", "SECURITY.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name: str) -> None:
    document = (TOP / name).read_text()
    for path, _, anchor in (link.partition("#") for link in re.findall(r"\]\(([^)\s]+)\)", document)):
        if not path.startswith("https://"):
            target = (TOP / name).parent / path if path else TOP / name
            assert target.exists(), path
            assert not anchor or anchor in anchors(target.read_text()), anchor
