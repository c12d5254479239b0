"""kubectl and helm as a person runs them, and waiting that ends."""

import json
import subprocess
import time
from collections.abc import Callable
from typing import Any

import httpx


def run(*command: str, within_s: float = 120, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=within_s)


def ran(*command: str, within_s: float = 120, given: str | None = None) -> str:
    """What a command prints that must succeed."""
    done = run(*command, within_s=within_s, given=given)
    assert done.returncode == 0, f"{' '.join(command)}\n{done.stdout}{done.stderr}"
    return done.stdout


def refused(*command: str, within_s: float = 120, given: str | None = None) -> str:
    """What a command says that must not succeed."""
    done = run(*command, within_s=within_s, given=given)
    assert done.returncode != 0, f"{' '.join(command)} wasn't refused:\n{done.stdout}"
    return done.stdout + done.stderr


def raw(path: str) -> Any:
    """What kube-apiserver answers at a path."""
    return json.loads(ran("kubectl", "get", "--raw", path))


def eventually[T](look: Callable[[], T], what: str, within_s: float = 60) -> T:
    """The first result that counts as true; what is looked at may fail until then. The last look is after the time."""
    deadline = time.monotonic() + within_s
    while True:
        late = time.monotonic() > deadline
        try:
            seen = look()
        except (AssertionError, OSError, httpx.TransportError) as error:
            last = repr(error)
        else:
            if seen:
                return seen
            last = repr(seen)
        assert not late, f"not within {within_s:g} s: {what}; at last: {last}"
        time.sleep(0.25)
