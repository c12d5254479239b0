"""A request to the letter, as no client library would send it, and what came back."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPResponse
from pathlib import Path

import greenstalk

from tests.beanstalkd.conftest import Beanstalkd, running_beanstalkd
from tests.kubernetes.conftest import client_tls
from tests.kubernetes.contract import Answer, Case

KEYS = {"front-proxy-client": "front-proxy-client", "admin": "admin", "node": "kubelet"}
"""A certificate's name in the recordings → in the cluster's folder of keys."""
JOBS = 4
"""In the tube `jobs`; the tube `default` has none, and there are no others."""


def recorded_beanstalkd() -> Iterator[Beanstalkd]:
    """One with the jobs that the recordings are about."""
    for beanstalkd in running_beanstalkd():
        with greenstalk.Client((beanstalkd.host, beanstalkd.port), use="jobs") as client:
            for _ in range(JOBS):
                client.put("job")
        yield beanstalkd


def asked(port: int, pki: Path, case: Case) -> Answer:
    """The answer of a server on this machine."""
    key = case.certificate and KEYS[case.certificate]
    tls = client_tls((pki / f"{key}.crt", pki / f"{key}.key") if key else None)
    with (
        socket.create_connection(("127.0.0.1", port), timeout=60) as connection,
        tls.wrap_socket(connection, server_hostname="localhost") as secured,
    ):
        secured.sendall(_request(case))
        answer = HTTPResponse(secured, method=case.method)
        answer.begin()
        return Answer.of(answer.status, answer.getheaders(), answer.read())


def _request(case: Case) -> bytes:
    body = case.body if isinstance(case.body, str) else json.dumps(case.body) if case.body is not None else ""
    headers = {"Host": "localhost", **case.headers}
    if body and not isinstance(case.body, str):
        headers["Content-Length"] = str(len(body))
    lines = [f"{case.method} {case.path} {case.version}"]
    for name, values in headers.items():
        lines += [f"{name}: {value}" for value in ([values] if isinstance(values, str) else values)]
    return "\r\n".join([*lines, "", body]).encode("latin-1")
