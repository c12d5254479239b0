import pytest

from app.beanstalkd.protocol import TubeNameError, check_tube_name


@pytest.mark.parametrize("name", ["default", "a", "A-Z+09/x;y.z$_()", "007", "x" * 200])
def test_every_name_that_beanstalkd_accepts_is_accepted(name: str) -> None:
    assert check_tube_name(name) == name


@pytest.mark.parametrize("name", ["", "-x", "x" * 201, "a b", "a\r\ndelete 1", "a\n", "ü", "a:b", "a*", "a\x00"])
def test_a_name_that_beanstalkd_rejects_or_that_contains_a_command_is_rejected(name: str) -> None:
    with pytest.raises(TubeNameError, match="is not a valid tube name"):
        check_tube_name(name)


def test_a_rejected_name_is_shown_on_one_line_and_shortened() -> None:
    with pytest.raises(TubeNameError) as refused:
        check_tube_name("-\r\n" + "x" * 5000)
    assert "\n" not in str(refused.value)
    assert len(str(refused.value)) < 300
