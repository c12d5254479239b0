"""/version: `version.Info` of k8s.io/apimachinery, whose every field Kubernetes' clients take for granted."""

import platform
import sys
from collections.abc import Mapping

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
"""Those that go by another name in Kubernetes."""


def version_info(release: str) -> Mapping[str, str]:
    """Of this program, not of Kubernetes: `release` is ours."""
    major, minor = release.split(".")[:2]
    machine = platform.machine()
    return {
        "major": major,
        "minor": minor,
        "gitVersion": f"v{release}",
        "gitCommit": "",
        "gitTreeState": "",
        "buildDate": "1970-01-01T00:00:00Z",
        "goVersion": "",
        "compiler": f"{sys.implementation.name} {platform.python_version()}",
        "platform": f"{sys.platform}/{_ARCHITECTURES.get(machine, machine)}",
    }
