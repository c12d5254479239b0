"""What a server built on Kubernetes' own library answers, beanscale answers too: every recorded request."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.kubernetes.conftest import Beanscale, Score, serving
from tests.kubernetes.contract import Case, deviations, read_cases
from tests.kubernetes.contract_differences import DIFFERENCES
from tests.kubernetes.record import RECORDED
from tests.kubernetes.wire import asked, recorded_beanstalkd

SHARED = Path(__file__).parents[3] / "shared" / "contract" / "cases.jsonl"


def recorded_cases() -> list[object]:
    found = [
        pytest.param(case, id=f"{recording.stem} {number}: {case.name}")
        for recording in (SHARED, *sorted(RECORDED.glob("*.jsonl")))
        if recording.exists()
        for number, case in enumerate(read_cases(recording))
    ]
    if SHARED.exists():
        return found
    reason = f"the recorded contract isn't beside the repository ({SHARED})"
    return [pytest.param(None, marks=pytest.mark.skip(reason=reason), id="none"), *found]


@pytest.fixture(scope="module")
def fresh() -> Iterator[Beanscale]:
    """One whose beanstalkd was just started."""
    for beanstalkd in recorded_beanstalkd():
        with serving("--beanstalkd", f"eu={beanstalkd.host}:{beanstalkd.port}") as server:
            yield server


@pytest.mark.parametrize("case", recorded_cases())
def test_a_recorded_request_is_answered_alike(fresh: Beanscale, pki: Path, case: Case, score: Score) -> None:
    ours = asked(fresh.port, pki, case)
    difference = next((difference for difference in DIFFERENCES if difference.applies(case)), None)
    deviating = deviations(case.answer, ours)
    if difference and difference.explains(case.answer, ours):
        score.different += 1
        return
    score.deviating += bool(deviating)
    score.alike += not deviating
    assert not deviating, f"beyond {difference.what!r}" if difference else ""
