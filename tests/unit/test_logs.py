"""What strangers cause must not fill the disk."""

from structlog.testing import capture_logs

from app.logs import Seldom


def test_a_repeated_warning_is_told_once_in_a_while_with_how_often_it_was() -> None:
    now = 0.0
    seldom = Seldom(lambda: now)
    with capture_logs() as lines:
        for _ in range(1000):
            seldom.warning("refused a client", peer="192.0.2.1")
        now += Seldom.PERIOD_S
        seldom.warning("refused a client", peer="192.0.2.2")
        now += Seldom.PERIOD_S
        seldom.warning("refused a client", peer="192.0.2.3")
    told = [(line["peer"], line.get("kept_back")) for line in lines]
    assert told == [("192.0.2.1", None), ("192.0.2.2", 999), ("192.0.2.3", None)]
