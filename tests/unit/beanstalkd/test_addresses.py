"""A name may lead to several addresses; each has a place and a label."""

import pytest

from app.beanstalkd.addresses import as_label, by_family, in_order
from app.metrics.selector import problems_of_value


@pytest.mark.parametrize(
    ("address", "label"),
    [
        ("10.0.0.3", "10.0.0.3"),
        ("fd00::3", "fd00--3"),
        ("::1", "0--1"),
        ("fd00::", "fd00--0"),
        ("fe80::1%eth0", "fe80--1-eth0"),
        ("::ffff:10.0.0.3", "0--ffff-10.0.0.3"),
        ("2001:db8:1111:2222:3333:4444:5555:6666", "2001-db8-1111-2222-3333-4444-5555-6666"),
    ],
)
def test_an_address_is_a_legal_label_value(address: str, label: str) -> None:
    assert as_label(address) == label
    assert not problems_of_value(label)


def test_the_family_of_the_first_address_comes_first() -> None:
    assert by_family(["fd00::1", "10.0.0.1", "fd00::2"]) == [["fd00::1", "fd00::2"], ["10.0.0.1"]]


def test_addresses_are_in_the_order_of_their_numbers() -> None:
    assert sorted(["10.0.0.10", "10.0.0.9", "9.0.0.1"], key=in_order) == ["9.0.0.1", "10.0.0.9", "10.0.0.10"]
