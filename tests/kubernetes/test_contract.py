"""What a server built on Kubernetes' own library answers, beanscale answers too: every recorded request."""

import http.client
import json
import ssl
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.beanstalkd.conftest import running_beanstalkd
from tests.kubernetes.conftest import Beanscale, Score, client_tls, serving
from tests.kubernetes.contract import Answer, Case, deviations, read_cases
from tests.kubernetes.contract_differences import DIFFERENCES

SHARED = Path(__file__).parents[3] / "shared" / "contract" / "cases.jsonl"
KEYS = {"front-proxy-client": "front-proxy-client", "admin": "admin", "node": "kubelet"}
"""A certificate's name in the recording → in the cluster's folder of keys."""


def recorded_cases() -> list[object]:
    if not SHARED.exists():
        reason = f"the recorded contract isn't beside the repository ({SHARED})"
        return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none")]
    return [pytest.param(case, id=f"{number}: {case.name}") for number, case in enumerate(read_cases(SHARED))]


@pytest.fixture(scope="module")
def fresh() -> Iterator[Beanscale]:
    """One whose beanstalkd was just started: there is the tube `default`, and no job."""
    for beanstalkd in running_beanstalkd():
        with serving("--beanstalkd", f"eu={beanstalkd.host}:{beanstalkd.port}") as server:
            yield server


@pytest.mark.parametrize("case", recorded_cases())
def test_a_recorded_request_is_answered_alike(fresh: Beanscale, pki: Path, case: Case, score: Score) -> None:
    ours = answer_of(fresh, pki, case)
    difference = next((difference for difference in DIFFERENCES if difference.applies(case)), None)
    deviating = deviations(case.answer, ours)
    if difference and difference.explains(case.answer, ours):
        score.different += 1
        return
    score.deviating += bool(deviating)
    score.alike += not deviating
    assert not deviating, f"beyond {difference.what!r}" if difference else ""


def answer_of(server: Beanscale, pki: Path, case: Case) -> Answer:
    """Ours to a request that no client library has tidied up."""
    certificate = case.certificate and KEYS[case.certificate]
    tls = client_tls((pki / f"{certificate}.crt", pki / f"{certificate}.key") if certificate else None)
    return asked("127.0.0.1", server.port, tls, case)


def asked(host: str, port: int, tls: ssl.SSLContext, case: Case) -> Answer:
    with closing(http.client.HTTPSConnection(host, port, timeout=10, context=tls)) as connection:
        connection.putrequest(case.method, case.path, skip_accept_encoding=True)
        body = b"" if case.body is None else json.dumps(case.body).encode()
        for name, value in case.headers.items():
            connection.putheader(name, value)
        if body:
            connection.putheader("Content-Length", str(len(body)))
        connection.endheaders(body)
        answer = connection.getresponse()
        return Answer.of(answer.status, answer.getheaders(), answer.read())
