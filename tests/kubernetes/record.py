"""Record again the responses of a server on Kubernetes' own library to the requests of a recording.

    scripts/cluster run uv run python -m tests.kubernetes.record PEER [RECORDING…]

PEER is its program: built with sigs.k8s.io/custom-metrics-apiserver, it serves `tube-NAME` for each tube of
`--beanstalkd=HOST:PORT`. A new request is a line of which only `case` and `request` are filled in. What two runs answer
differently (times, IDs) is masked, so that the difference to the last recording is what has changed in Kubernetes.
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from operator import itemgetter
from pathlib import Path
from typing import Any

from tests.beanstalkd.conftest import Beanstalkd
from tests.kubernetes.conftest import free_port
from tests.kubernetes.contract import HEADERS, Answer, case_of
from tests.kubernetes.wire import asked, recorded_beanstalkd

RECORDED = Path(__file__).parent / "recorded"
MASKED = {"audit-id": "UUID", "etag": "ETAG"}
READY = {"case": "", "request": {"method": "GET", "path": "/readyz", "headers": {}, "cert": None, "body": None}}
POLL_S = 6
"""The peer looks at beanstalkd every five seconds."""
LONGEST = 1000
"""Characters of an answer that is kept whole: documents are another server's own."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("peer", type=Path, metavar="PEER", help="the program")
    parser.add_argument("recordings", type=Path, nargs="*", metavar="RECORDING", help="default: all in recorded/")
    arguments = parser.parse_args()
    pki = Path(os.environ["BEANSCALE_PKI"])
    for beanstalkd in recorded_beanstalkd():
        with serving_peer(arguments.peer, beanstalkd, pki) as port:
            for recording in arguments.recordings or sorted(RECORDED.glob("*.jsonl")):
                lines = [recorded(json.loads(line), port, pki) for line in recording.read_text().splitlines()]
                recording.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


@contextmanager
def serving_peer(program: Path, beanstalkd: Beanstalkd, pki: Path) -> Iterator[int]:
    """Start it, and end it; its port."""
    port, kubeconfig = free_port(), os.environ["KUBECONFIG"]
    options = [f"--beanstalkd={beanstalkd.host}:{beanstalkd.port}", f"--secure-port={port}"]
    options += [f"--{what}-kubeconfig={kubeconfig}" for what in ("lister", "authentication", "authorization")]
    with tempfile.TemporaryDirectory() as certificates:
        command = [str(program.resolve()), *options, f"--cert-dir={certificates}"]
        with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
            try:
                wait_until_ready(port, pki)
                yield port
            finally:
                process.terminate()


def wait_until_ready(port: int, pki: Path) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with suppress(OSError):
            if asked(port, pki, case_of(READY)).status == 200:
                time.sleep(POLL_S)
                return
        time.sleep(0.1)
    raise SystemExit("the peer doesn't get ready")


def recorded(line: Any, port: int, pki: Path) -> Any:
    answer = asked(port, pki, case_of(line))
    headers = {name: MASKED.get(name, value) for name, value in answer.headers.items() if name in {*HEADERS, *MASKED}}
    head = {"status": answer.status, "headers": dict(sorted(headers.items()))}
    return {"case": line["case"], "request": line["request"], "answer": head | content(answer)}


def content(answer: Answer) -> dict[str, Any]:
    if not isinstance(answer.content, str):
        if answer.content.get("kind") == "APIResourceList":
            answer.content["resources"].sort(key=itemgetter("name"))  # they come in an order by chance
        if "openapi" in answer.content or "swagger" in answer.content:
            return {"text": json.dumps(answer.content)[:LONGEST] + "…"}
        return {"json": answer.content}
    return {"text": "BINARY" if "\ufffd" in answer.content else answer.content[:LONGEST]}


if __name__ == "__main__":
    main()
