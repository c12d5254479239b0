"""beanscale answers every recorded request as the recorded server, built on Kubernetes' own library, did."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.conftest import Beanscale, Score, serving
from tests.kubernetes.contract import Case, deviations, read_cases
from tests.kubernetes.contract_differences import DIFFERENCES
from tests.kubernetes.record import RECORDED
from tests.kubernetes.wire import asked, recorded_beanstalkd

CASES = [
    pytest.param(case, id=f"{recording.stem} {number}: {case.name}")
    for recording in sorted(RECORDED.glob("*.jsonl"))
    for number, case in enumerate(read_cases(recording))
]


@pytest.fixture(scope="module")
def fresh() -> Iterator[Beanscale]:
    """One whose beanstalkd was just started."""
    for beanstalkd in recorded_beanstalkd():
        with serving("--beanstalkd", f"eu={beanstalkd.host}:{beanstalkd.port}") as server:
            yield server


@pytest.mark.parametrize("case", CASES)
def test_a_recorded_request_gets_the_same_response(fresh: Beanscale, pki: Path, case: Case, score: Score) -> None:
    ours = asked(fresh.port, pki, case)
    difference = next((difference for difference in DIFFERENCES if difference.applies(case)), None)
    deviating = deviations(case.answer, ours)
    if difference and difference.explains(ours):
        score.different += 1
        return
    score.deviating += bool(deviating)
    score.alike += not deviating
    assert not deviating, f"beyond {difference.what!r}" if difference else ""
