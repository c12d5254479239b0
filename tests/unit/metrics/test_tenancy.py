"""A namespace sees the tubes that are granted to it, and no answer betrays another."""

import pytest

from app.beanstalkd.protocol import ProtocolError, Reply, body_of
from app.metrics.built_in import NAMES
from app.metrics.query import (
    EvaluationContext,
    MetricError,
    MetricQuery,
    NoValueError,
    StaleReadingError,
    UnknownMetricError,
)
from app.metrics.resolve import metric_names, resolve
from app.metrics.rules import Rule
from app.metrics.selector import parse_selector
from app.metrics.tenancy import outages
from tests.unit.metrics.given import TUBE, ago, asked, by_label, counts, glob, known, quantities, rule, server, tube

SHOP = {"shop": "shop-* Checkout", "mail": "mail", "ops": "*"}


def given(*rules: Rule, secrets: int = 1, tenancy: dict[str, str] | None = None) -> EvaluationContext:
    """Tubes of the shop's, and as many secret ones."""
    hidden = [tube(f"secret-{number}", ready=5) for number in range(secrets)]
    state = server(
        "eu",
        tube("shop-a", ready=1),
        tube("Checkout", ready=2),
        *([tube("checkout", ready=4), tube("SHOP-A", ready=8)] if secrets else []),
        *hidden,
        listed_earlier_at=ago(61),
        earlier={name: counts(61, 0, 0) for name in ("shop-a", "Checkout", "checkout", "SHOP-A", "secret-0")},
    )
    return known(state, rules=rules, tenancy=SHOP if tenancy is None else tenancy)


def outcome(metric: str, selector: str, of: EvaluationContext, namespace: str = "shop") -> object:
    """Values, or the words of the error."""
    try:
        return [(dict(value.labels), value.quantity) for value in asked(metric, selector, of, namespace)]
    except MetricError as error:
        return type(error), str(error)


def test_only_granted_namespaces_can_access_a_tube() -> None:
    assert quantities(asked("tube-shop-a", "", given())) == ["1"]
    assert quantities(asked("tube-secret-0", "", given(), "ops")) == ["5"]
    for metric, selector in (("tube-secret-0", ""), ("beanstalkd_tube_jobs", "tube=secret-0")):
        with pytest.raises(UnknownMetricError) as hidden:
            asked(metric, selector, given())
        assert str(hidden.value) == ("namespace 'shop' can't access tube 'secret-0'; it can access: shop-*, Checkout")


def test_without_tenancy_every_namespace_can_access_all_tubes() -> None:
    assert quantities(asked("tube-secret-0", "", given(tenancy={}))) == ["5"]


def test_a_namespace_without_a_grant_can_access_no_tube() -> None:
    with pytest.raises(UnknownMetricError, match=r"namespace 'other' can't access tube 'shop-a'; it can access: none$"):
        asked("tube-shop-a", "", given(), "other")
    for metric in NAMES:
        with pytest.raises(UnknownMetricError, match="namespace 'other' can't access any tube: tenancy grants it none"):
            asked(metric, "", given(), "other")


QUESTIONS: list[tuple[str, str]] = [
    ("tube-secret-0", ""),
    ("tube-SECRET-0", ""),
    ("tube-checkout", ""),
    ("tube-shop-a", ""),
    ("secret-0", ""),
    ("tubes-secret-0", ""),
    ("queue", ""),
    *[
        (metric, selector)
        for metric in NAMES
        for selector in ("tube=secret-0", "tube in (shop-a,secret-0)", "", "tube!=a")
    ],
    ("mine", "tube=secret-0"),
    ("mine", ""),
    ("mine", "tube=shop-a"),
    ("theirs", ""),
    ("theirs", "tube=secret-0"),
]


@pytest.mark.parametrize(("metric", "selector"), QUESTIONS)
def test_no_response_depends_on_whether_a_hidden_tube_exists(metric: str, selector: str) -> None:
    rules = [rule("mine", per=TUBE), rule("theirs", namespaces=glob("ops"))]
    there, not_there = (outcome(metric, selector, given(*rules, secrets=secrets)) for secrets in (1, 0))
    assert there == not_there


@pytest.mark.parametrize(("metric", "selector"), QUESTIONS)
def test_no_explanation_depends_on_whether_a_hidden_tube_exists(metric: str, selector: str) -> None:
    rules = [rule("mine", per=TUBE), rule("theirs", namespaces=glob("ops"))]
    question = MetricQuery(metric, "shop", parse_selector(selector))
    there, not_there = (resolve(question, given(*rules, secrets=secrets)).explain(selector) for secrets in (1, 0))
    assert there == not_there


def test_lists_omit_hidden_tubes() -> None:
    assert by_label(asked("beanstalkd_tube_jobs", "state=ready", given()), "tube") == {"shop-a": "1", "Checkout": "2"}


def test_servers_must_be_fresh_for_every_namespace() -> None:
    stale = known(server("eu", age_s=60), tenancy=SHOP)
    for namespace in ("shop", "mail"):
        with pytest.raises(StaleReadingError):
            asked("beanstalkd_tube_jobs", "", stale, namespace)


def test_a_lower_case_name_means_a_visible_tube() -> None:
    """The namespace can access `Checkout`; that there is a `checkout` too must stay hidden."""
    (value,) = asked("tube-checkout", "", given())
    assert (dict(value.labels), value.quantity) == ({"tube": "Checkout"}, "2")
    (gone,) = asked("tube-checkout", "", known(server("eu", tube("checkout", ready=4)), tenancy=SHOP))
    assert (dict(gone.labels), gone.quantity) == ({"tube": "Checkout"}, "0")


def test_a_tube_visible_by_a_glob_never_lends_its_name_to_a_hidden_one() -> None:
    only_upper = known(server("eu", tube("shop-b", ready=4), age_s=3), tenancy={"shop": "SHOP-*"})
    (value,) = asked("tube-shop-b", "", only_upper)
    assert (value.quantity, value.answered_at) == (
        "0",
        ago(3),
    )  # when it was listed, and not when the hidden one was read
    assert resolve(MetricQuery("tube-shop-b", "shop"), only_upper).wanted().tubes == ()


def test_a_rule_is_for_the_namespaces_that_it_names() -> None:
    of = given(rule("shops-own", namespaces=glob("shop-* shop")), tenancy={})
    assert len(asked("shops-own", "", of, "shop")) == 1
    assert len(asked("shops-own", "", of, "shop-eu")) == 1
    assert outcome("shops-own", "", of, "mail") == outcome("shops-own", "", given(tenancy={}), "mail")
    with pytest.raises(UnknownMetricError, match="there is no metric shops-own"):
        asked("shops-own", "", of, "mail")


def test_a_rule_shows_every_tube_to_the_namespaces_that_it_names() -> None:
    of = given(rule("given", per=TUBE, namespaces=glob("shop")), rule("sum", namespaces=glob("*")))
    assert len(asked("given", "", of)) == 5
    assert quantities(asked("given", "tube=secret-0", of)) == ["5"]
    assert quantities(asked("sum", "", of)) == ["20"]


def test_with_tenancy_a_rule_without_namespaces_is_for_none() -> None:
    """rules_file.py rejects it; and if it didn't, its sum would reveal hidden tubes."""
    of = given(rule("sum"))
    for namespace in ("shop", "ops"):
        assert outcome("sum", "", of, namespace) == outcome("sum", "", given(), namespace)


@pytest.mark.parametrize("metric", [name for name in NAMES if not name.endswith("next_job_age_seconds")])
def test_a_hidden_tube_that_is_stale_or_read_once_is_no_error(metric: str) -> None:
    state = server("eu", tube("secret", ready=1, age_s=20), listed_earlier_at=ago(61))
    assert set(quantities(asked(metric, "", known(state, tenancy=SHOP)))) == {"0"}
    with pytest.raises(NoValueError, match="tube 'secret'"):
        asked(metric, "", known(state, tenancy=SHOP), "ops")


def error_that_quotes_a_reply() -> str:
    """Of a stream that is out of step."""
    with pytest.raises(ProtocolError) as failed:
        body_of(Reply(b"name:", (b"secret",)))
    assert failed.value.names_tube
    return str(failed.value)


@pytest.mark.parametrize("failure", ["answered about tube 'x' instead of 'secret'", error_that_quotes_a_reply()])
def test_no_error_of_a_server_quotes_a_reply_about_a_tube(failure: str) -> None:
    failed = server("eu", age_s=60, failure=failure, names_tube=True)
    with pytest.raises(StaleReadingError, match=r"invalid reply; see the beanscale server log; last read"):
        asked("tube-shop-a", "", known(failed, tenancy=SHOP))
    with pytest.raises(StaleReadingError, match="secret"):
        asked("tube-shop-a", "", known(failed))


def test_no_probe_quotes_a_reply_because_anonymous_clients_can_read_probes() -> None:
    failed = server("eu", age_s=60, failure="answered about tube 'x' instead of 'secret'", names_tube=True)
    down = server("us", age_s=60, failure="connection refused")
    assert outages(known(failed, down, server("asia"), tenancy=SHOP)) == (
        "can't be read: 'eu': invalid reply; see the beanscale server log; 'us': connection refused"
    )
    assert outages(known(failed)) == "can't be read: 'eu': answered about tube 'x' instead of 'secret'"
    assert outages(known(server("asia"))) is None


def test_discovery_is_the_same_for_all_and_so_names_no_tubes() -> None:
    of = given(rule("everybodys"), rule("anybodys", namespaces=glob("x *")), rule("theirs", namespaces=glob("shop")))
    assert metric_names(of.snapshot, of.rules) == [*NAMES, "anybodys", "everybodys"]


def test_hidden_tubes_are_not_requested() -> None:
    for metric, selector in (("tube-secret-0", ""), ("beanstalkd_tube_jobs", "tube=secret-0")):
        wanted = resolve(MetricQuery(metric, "shop", parse_selector(selector)), given()).wanted()
        assert (*wanted.tubes, *wanted.ages) == ()


def test_similar_names_are_those_that_can_be_queried() -> None:
    of = given(rule("secrets", namespaces=glob("ops")))
    with pytest.raises(UnknownMetricError) as unknown:
        asked("secret-0", "", of)
    assert unknown.value.near == ()
    with pytest.raises(UnknownMetricError) as known_there:
        asked("secret-0", "", of, "ops")
    assert known_there.value.near == ("secrets", "tube-secret-0")
