"""A session is ours, lasts twelve hours, and ends with a word."""

from app.console.login import LIFETIME_S, Sessions


def test_a_session_is_found_by_its_cookie_only() -> None:
    sessions = Sessions()
    cookie, session = sessions.start("10.0.0.1", 0)
    assert sessions.find(cookie, 1) is session
    assert sessions.find(cookie + "x", 1) is None
    assert sessions.find("", 1) is None
    assert sessions.find("\udcff", 1) is None


def test_cookies_and_tokens_are_unique_and_hard_to_guess() -> None:
    sessions = Sessions()
    begun = [sessions.start("10.0.0.1", 0) for _ in range(50)]
    secrets = {cookie for cookie, _ in begun} | {session.token for _, session in begun}
    assert len(secrets) == 100
    assert min(map(len, secrets)) >= 43  # 256 bits in base64
    assert not secrets & {session.name for _, session in begun}


def test_a_session_ends_after_twelve_hours_despite_activity() -> None:
    sessions = Sessions()
    cookie, session = sessions.start("10.0.0.1", 0)
    assert sessions.find(cookie, LIFETIME_S - 1) is session
    assert sessions.find(cookie, LIFETIME_S) is None
    assert sessions.find(cookie, 0) is None


def test_signing_out_ends_the_session() -> None:
    sessions = Sessions()
    cookie, session = sessions.start("10.0.0.1", 0)
    sessions.end(cookie)
    assert sessions.find(cookie, 1) is None
    assert not session.is_valid(1)


def test_a_changed_password_ends_all() -> None:
    sessions = Sessions()
    begun = [sessions.start("10.0.0.1", 0) for _ in range(3)]
    sessions.end_all()
    assert [sessions.find(cookie, 1) for cookie, _ in begun] == [None] * 3
    assert not any(session.is_valid(1) for _, session in begun)


def test_sessions_are_limited() -> None:
    sessions = Sessions(limit=2)
    begun = [sessions.start("10.0.0.1", 0) for _ in range(3)]
    assert [sessions.find(cookie, 1) is not None for cookie, _ in begun] == [False, True, True]
    assert begun[0][1].ended


def test_a_token_is_valid_only_for_its_session() -> None:
    sessions = Sessions()
    (_, one), (_, other) = sessions.start("10.0.0.1", 0), sessions.start("10.0.0.1", 0)
    assert one.accepts(one.token)
    assert not one.accepts(other.token)
    assert not one.accepts("")
    assert not one.accepts("ü")


def test_no_log_line_contains_a_session() -> None:
    cookie, session = Sessions().start("10.0.0.1", 0)
    assert cookie not in repr(session)
    assert session.token not in repr(session)
