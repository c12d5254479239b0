"""A file of rules means what it says, or is refused with every mistake in it, each with its rule and key."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from time import process_time
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from app.metrics.fields import FIELDS
from app.metrics.formula import parse_formula
from app.metrics.rules import Fail, Glob, Grant, Hold, Label, Rule, Rules, Substitute
from app.metrics.rules_file import load_rules, parse_rules
from app.settings import InvalidFileError, SettingError

SERVERS = ("eu", "us")


def rules_of(text: str) -> Rules:
    return parse_rules(text.encode(), "rules.yaml", SERVERS)


def mistakes_in(text: str) -> list[str]:
    with pytest.raises(SettingError) as refused:
        rules_of(text)
    return str(refused.value).splitlines()


def rule_with(key: str) -> str:
    return f"metrics:\n- name: a\n  tubes: [x]\n  {key}\n"


def test_a_rule_is_parsed_with_all_its_keys() -> None:
    rules = rules_of(
        """
        metrics:
          - name: checkout-backlog
            tubes: [checkout, "checkout-*", "007", A/b;c.d$(e)+_]
            servers: [us, eu]
            value: ready + reserved + 0.5 * delayed
            per: [tube, server]
            onFailure: {hold: 5m}
            maxAge: 1m30s
            paused: ignore
            busy: {keep: 2}
            unit: orders
            namespaces: [shop, "team-[a-c]"]
        tenancy:
          - namespaces: [shop, "team-*"]
            tubes: [checkout, "shop-*"]
        """
    )
    assert rules.metrics == {
        "checkout-backlog": Rule(
            name="checkout-backlog",
            tubes=Glob(("checkout", "checkout-*", "007", "A/b;c.d$(e)+_")),
            formula=parse_formula("max(ready + reserved + 0.5 * delayed, 2 * reserved)"),
            ignores_paused=True,
            servers=frozenset({"eu", "us"}),
            per=frozenset({Label.TUBE, Label.SERVER}),
            on_failure=Hold(300),
            max_age_s=90,
            unit="orders",
            namespaces=Glob(("shop", "team-[a-c]")),
        )
    }
    assert rules.tenancy == (Grant(Glob(("shop", "team-*")), Glob(("checkout", "shop-*"))),)


def test_a_rule_requires_only_a_name_and_tubes() -> None:
    rules = rules_of("metrics: [{name: a, tubes: [x]}]")
    assert rules.metrics["a"] == Rule("a", Glob(("x",)), parse_formula("ready + reserved"))


@pytest.mark.parametrize(
    ("written", "policy"),
    [
        ("fail", Fail()),
        ("{hold: 500ms}", Hold(0.5)),
        ("{value: 0}", Substitute(Fraction(0))),
        ("{value: 1.5}", Substitute(Fraction(3, 2))),
        ('{value: "10"}', Substitute(Fraction(10))),
        ("{}", Fail()),
        ("{hold: null, value: null}", Fail()),
        ("{hold: null, value: 10}", Substitute(Fraction(10))),
    ],
)
def test_each_failure_policy_is_parsed(written: str, policy: object) -> None:
    assert rules_of(rule_with(f"onFailure: {written}")).metrics["a"].on_failure == policy


@pytest.mark.parametrize(
    "text",
    ["", "# nothing\n", "---\n", "{}", "metrics:\ntenancy:\n", "metrics: []\ntenancy: []\n", "\ufeffmetrics: []"],
)
def test_a_file_can_have_no_rules(text: str) -> None:
    assert rules_of(text) == Rules()


def test_an_optional_key_without_content_is_not_set() -> None:
    keys = ("servers", "value", "per", "onFailure", "maxAge", "paused", "busy", "unit", "namespaces")
    text = "metrics:\n- name: a\n  tubes: [x]\n" + "".join(f"  {key}:\n" for key in keys)
    assert rules_of(text) == rules_of("metrics: [{name: a, tubes: [x]}]")


@pytest.mark.parametrize(
    ("keys", "formula"),
    [
        ("busy: {keep: 10}", "max(ready + reserved, 10 * reserved)"),
        ('busy: {keep: "0.5"}\n  value: delayed - 1', "max(delayed - 1, 0.5 * reserved)"),
    ],
)
def test_busy_workers_are_part_of_the_formula(keys: str, formula: str) -> None:
    found = rules_of(rule_with(keys)).metrics["a"].formula
    assert (found.text, found.fields >= {"reserved"}, found.unit) == (formula, True, "jobs")


def test_a_formula_that_busy_makes_too_long_is_refused() -> None:
    value = " + ".join(["ready"] * 124)
    (mistake,) = mistakes_in(rule_with(f"busy: {{keep: 10}}\n  value: {value}"))
    assert "busy: max(value, 10 * reserved) is 1,009 characters long" in mistake


def test_a_name_that_yaml_reads_as_a_number_stays_text() -> None:
    rules = rules_of("metrics: [{name: no, tubes: [007, 1.50, 2020-01-01, 0x1f, yes]}]")
    assert rules.metrics["no"].tubes == Glob(("007", "1.50", "2020-01-01", "0x1f", "yes"))


def test_too_many_keys_are_rejected_quickly() -> None:
    began = process_time()
    assert "unknown key" in mistakes_in("".join(f"k{number}: x\n" for number in range(50_000)))[0]
    assert process_time() - began < 5


def test_an_anchor_can_be_used_again() -> None:
    rules = rules_of("metrics:\n- {name: a, tubes: &both [x, y]}\n- {name: b, tubes: *both}\n")
    assert rules.metrics["b"].tubes == Glob(("x", "y"))


@pytest.mark.parametrize(
    ("key", "mistake"),
    [
        ("tube: [x]", 'metrics[0] "a": unknown key "tube"; did you mean tubes?'),
        ("onfailure: fail", 'metrics[0] "a": unknown key "onfailure"; did you mean onFailure?'),
        ("xyz: 1", 'metrics[0] "a": unknown key "xyz"; there are name, tubes,'),
        ("yes: 1", 'metrics[0] "a": unknown key "yes"; there are name, tubes,'),
        ("<<: {value: ready}", 'metrics[0] "a": unknown key "<<"; there are'),
        ("value: ready + redy", "value: unknown field 'redy' at column 9; did you mean ready?"),
        ("value: 5", "value: names no field, so it would never change"),
        ("value: [ready]", "value: must be text, not a list"),
        ("servers: [uss]", 'servers[0]: there is no server "uss"; did you mean us?'),
        ("servers: [asia]", 'servers[0]: there is no server "asia"; known: eu, us'),
        ("servers: []", "servers: is empty; name a server, or leave the key out for all"),
        ("servers: eu", "servers: must be a list, not text; write [eu]"),
        ("per: [tubes]", 'per[0]: there is no label "tubes"; did you mean tube?'),
        ("per: tube", "per: must be a list, not text; write [tube]"),
        ("onFailure: hold", 'onFailure: must be fail, {hold: 5m} or {value: 10}, not "hold"'),
        ("onFailure: {hold: 5m, value: 1}", "onFailure: must be fail, {hold: 5m} or {value: 10}"),
        ("onFailure: [fail]", "onFailure: must be fail, {hold: 5m} or {value: 10}"),
        ("onFailure: {hold: 5}", "onFailure: '5' isn't a duration"),
        ("onFailure: {value: -1}", 'onFailure: "-1" isn\'t a plain number from 0 on'),
        ("onFailure: {value: 1500m}", 'onFailure: "1500m" isn\'t a plain number from 0 on'),
        ("onFailure: {value: 010}", 'onFailure: "010" isn\'t a plain number from 0 on'),
        ("onFailure: {value: .inf}", 'onFailure: ".inf" isn\'t a plain number from 0 on'),
        (
            "onFailure: {value: 9223372036854776}",
            "onFailure: 9223372036854776 is above the Kubernetes limit (9223372036854775)",
        ),
        ("paused: ignor", 'paused: must be count or ignore, not "ignor"'),
        ("paused: [ignore]", "paused: must be count or ignore"),
        ("paused: true", 'paused: must be count or ignore, not "true"'),
        ("busy: keep", "busy: keep requires a number, because rules don't know the targets of HPAs; write {keep: 10}"),
        ("busy: kept", 'busy: must be {keep: NUMBER}, not "kept"; write {keep: 10} if your HPA has averageValue: "10"'),
        ("busy: {keep: 0}", 'busy: "0" must be greater than 0; write {keep: 10}'),
        ("busy: {keep: -1}", 'busy: "-1" isn\'t a plain number from 0 on'),
        ("busy: {keep: 500m}", 'busy: "500m" isn\'t a plain number from 0 on'),
        ("busy: {keep: 2, drop: 1}", "busy: must be {keep: NUMBER}; write"),
        ("busy: [keep]", "busy: must be {keep: NUMBER}; write"),
        ('unit: ""', "unit: must be 1 to 20 printable characters without blanks around them, such as orders"),
        ('unit: " orders"', "unit: must be 1 to 20 printable characters without blanks around them"),
        ("unit: [jobs]", "unit: must be text, not a list"),
        ('unit: "jobs\\n"', "unit: must be 1 to 20 printable characters"),
        (f"unit: {'x' * 21}", "unit: must be 1 to 20 printable characters"),
        ("maxAge: 15", "maxAge: '15' isn't a duration"),
        ("maxAge: 0s", "maxAge: '0s' isn't a duration of any length"),
        ("namespaces: [Shop]", "namespaces[0]: 'Shop' is not a valid namespace"),
        ("namespaces: [shop-]", "namespaces[0]: 'shop-' is not a valid namespace: use at most 63"),
        ("namespaces: [Shop-*]", "namespaces[0]: 'Shop-*' can't match a namespace: 'S' isn't allowed in a namespace's"),
        ("namespaces: []", 'namespaces: is empty; name a namespace, or write ["*"] for all'),
    ],
)
def test_an_error_has_its_rule_and_key(key: str, mistake: str) -> None:
    (error,) = mistakes_in(rule_with(key))
    assert error.startswith('rules.yaml: metrics[0] "a": ' + mistake.removeprefix('metrics[0] "a": '))


@pytest.mark.parametrize(
    ("name", "mistake"),
    [
        ("Checkout", "must be at most 63 lower-case letters"),
        ("a_b", "must be at most 63 lower-case letters"),
        ("a" * 64, "must be at most 63 lower-case letters"),
        ('""', "must be at most 63 lower-case letters"),
        ("tube-x", "can't begin with tube-, as the built-in metrics"),
        ("status", "status is reserved (Kubernetes parses it as a namespace subresource): choose another"),
        ("finalize", "finalize is reserved"),
        ("~", "must be text, not nothing"),
        ("[a]", "must be text, not a list"),
    ],
)
def test_a_name_must_be_valid_in_a_path(name: str, mistake: str) -> None:
    (error,) = mistakes_in(f"metrics: [{{name: {name}, tubes: [x]}}]")
    assert f": name: {mistake}" in error


@pytest.mark.parametrize(
    ("tube", "mistake"),
    [
        ('"a,b"', "'a,b' is not a valid tube name: use 1 to 200 of the characters A-Z a-z 0-9"),
        ('"a b*"', "'a b*' can't match a tube: ' ' isn't allowed in a tube's name"),
        ('"ä*"', "'ä*' can't match a tube: 'ä' isn't allowed"),
        ('"a\\n"', r"'a\n' is not a valid tube name"),
        ('"a*\\n"', r"'\n' isn't allowed in a tube's name"),
        ('"{a,b}-*"', "'{' isn't allowed in a tube's name"),
        ('"x["', "'x[' has a '[' without a ']' that ends its set of characters"),
        ('"x[]"', "'x[]' has a '[' without a ']'"),
        ('"x[!]"', "'x[!]' has a '[' without a ']'"),
        ('"[^a]"', "'^' isn't allowed in a tube's name"),
        ('"-x"', "'-x' is not a valid tube name"),
        ('""', "'' is not a valid tube name"),
        (f'"{"a" * 200}*"', "is too long: the limit of a pattern is 200 characters"),
        ("a" * 201, "is not a valid tube name"),
        ("1:30", "'1:30' is not a valid tube name"),
        ("~", "must be text, not nothing"),
        ("[x]", "must be text, not a list"),
    ],
)
def test_an_invalid_tube_name_is_rejected(tube: str, mistake: str) -> None:
    (error,) = mistakes_in(f"metrics: [{{name: a, tubes: [x, {tube}]}}]")
    assert error.startswith('rules.yaml: metrics[0] "a": tubes[1]: ')
    assert mistake in error


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a", "rules.yaml: must be a map with metrics, tenancy, not text"),
        ("[]", "rules.yaml: must be a map with metrics, tenancy, not a list"),
        ("metric: []", 'rules.yaml: unknown key "metric"; did you mean metrics?'),
        ("metrics: []\nmetrics: []", 'rules.yaml: line 2, column 1: invalid YAML: "metrics" is written twice'),
        (rule_with("tubes: [y]"), 'rules.yaml: line 4, column 3: invalid YAML: "tubes" is written twice'),
        (
            rule_with("? [value]\n  : ready"),
            "rules.yaml: line 4, column 5: invalid YAML: while constructing a mapping, found",
        ),
        (
            "a: !name x",
            "rules.yaml: line 1, column 4: invalid YAML: could not determine a constructor for the tag '!name'",
        ),
        ("metrics: {}", "rules.yaml: metrics: must be a list, not a map"),
        ("metrics: [x]", "rules.yaml: metrics[0]: must be a map with name, tubes,"),
        ("metrics: [{tubes: [x]}]", "rules.yaml: metrics[0]: has no name"),
        ("metrics: [{name: a}]", 'rules.yaml: metrics[0] "a": has no tubes'),
        ("metrics: [{name: a, tubes: []}]", 'rules.yaml: metrics[0] "a": tubes: is empty; name a tube, or write ["*"]'),
        ("metrics: [{name: a, tubes: x}]", 'rules.yaml: metrics[0] "a": tubes: must be a list, not text; write [x]'),
        (
            "metrics: [{name: a, tubes: [x]}, {name: a, tubes: [y]}]",
            'rules.yaml: metrics[1] "a": name: an earlier rule has the same',
        ),
        ("metrics: &again [*again]", "rules.yaml: metrics[0]: must be a map with name, tubes,"),
        ("tenancy: [{tubes: [x]}]", "rules.yaml: tenancy[0]: has no namespaces"),
        ("tenancy: [{namespaces: [x]}]", "rules.yaml: tenancy[0]: has no tubes"),
        (
            "tenancy: [{namespaces: [x], tubes: ['a b']}]",
            "rules.yaml: tenancy[0]: tubes[0]: 'a b' is not a valid tube name",
        ),
        ("a: [", "rules.yaml: line 2, column 1: invalid YAML: while parsing a flow node, did not find expected node"),
        ("tubes: [*]", "rules.yaml: line 1, column 10: invalid YAML: while scanning an alias, did not find expected"),
        (
            "tubes: *-x",
            "rules.yaml: line 1, column 8: invalid YAML: found undefined alias; a pattern that begins with *",
        ),
        (
            "a: 1\n---\nb: 1",
            "rules.yaml: line 2, column 1: invalid YAML: expected a single document in the stream, but",
        ),
        ("a: \x00", "rules.yaml: invalid YAML: unacceptable character #x0000: control characters are not allowed"),
        ("metrics: [" + "{}," * 1001 + "]", "rules.yaml: metrics: has 1,001 items, the limit is 1,000"),
        (
            "metrics: [{name: a, tubes: [" + "x," * 1001 + "]}]",
            'rules.yaml: metrics[0] "a": tubes: has 1,001 items, the limit is 1,000',
        ),
        ("[" * 1000, "rules.yaml: nests more than 20 lists and maps"),
        ("[" * 200_000, "rules.yaml: nests more than 20 lists and maps"),
        ("[" + "a," * 200_000 + "]", "rules.yaml: must be a map with metrics, tenancy, not a list"),
        ("#" * 2**20 + "\n", "rules.yaml: has more than 1 MiB"),
    ],
)
def test_a_file_with_contradictions_is_rejected(text: str, mistake: str) -> None:
    assert mistakes_in(text)[0].startswith(mistake)


def test_values_other_than_text_are_rejected() -> None:
    with pytest.raises(SettingError, match="isn't UTF-8 text: byte 3 is 0xff"):
        parse_rules(b"a\n\xff", "rules.yaml", SERVERS)


def test_a_file_that_cant_be_read_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match="nope: can't be read: No such file or directory"):
        load_rules(tmp_path / "nope", SERVERS)
    with pytest.raises(SettingError, match="can't be read: Is a directory"):
        load_rules(tmp_path, SERVERS)


def test_a_file_is_read_from_its_path(tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text("metrics: [{name: a, tubes: [x]}]")
    assert list(load_rules(file, SERVERS).metrics) == ["a"]


def test_all_errors_are_listed_at_once() -> None:
    assert mistakes_in(
        """
        metrics:
          - name: Checkout
            tubes: [x, "a b"]
            value: redy
          - name: b
            maxAge: soon
        tenancy:
          - namespaces: [shop]
        """
    ) == [
        "rules.yaml: tenancy[0]: has no tubes",
        "rules.yaml: metrics[0] \"Checkout\": name: must be at most 63 lower-case letters, digits and '-', with a"
        " letter or digit at each end: it is part of a URL path, and Kubernetes lowercases metric names",
        "rules.yaml: metrics[0] \"Checkout\": tubes[1]: 'a b' is not a valid tube name: use 1 to 200 of the characters"
        " A-Z a-z 0-9 - + / ; . $ _ ( ), with no '-' at the start",
        "rules.yaml: metrics[0] \"Checkout\": value: unknown field 'redy' at column 1; did you mean ready?",
        'rules.yaml: metrics[0] "Checkout": requires namespaces when tenancy is set, e.g. [shop], or ["*"] for all,'
        " because it covers tubes of others",
        'rules.yaml: metrics[1] "b": has no tubes',
        "rules.yaml: metrics[1] \"b\": maxAge: 'soon' isn't a duration; write a number with a unit, like 500ms, 15s or"
        " 1m30s",
        'rules.yaml: metrics[1] "b": requires namespaces when tenancy is set, e.g. [shop], or ["*"] for all, because it'
        " covers tubes of others",
    ]


def test_of_very_many_errors_the_first_are_listed() -> None:
    errors = mistakes_in("metrics: [" + "{name: a}," * 1000 + "]")
    assert len(errors) == 101
    assert errors[-1] == "rules.yaml: only the first 100 errors are listed"


def test_a_substitute_value_has_no_labels_and_so_excludes_per() -> None:
    (error,) = mistakes_in(rule_with("onFailure: {value: 10}\n  per: [tube]"))
    assert error.startswith('rules.yaml: metrics[0] "a": onFailure value can\'t be combined with per')
    assert rules_of(rule_with("onFailure: {value: 10}\n  per: []")).metrics["a"].per == frozenset()
    (error,) = mistakes_in(rule_with("onFailure: {hold: x}\n  per: [tube]"))
    assert "isn't a duration" in error


def test_with_tenancy_each_rule_requires_namespaces() -> None:
    grant = "\ntenancy: [{namespaces: [shop], tubes: [x]}]"
    (error,) = mistakes_in(rule_with(grant))
    assert 'requires namespaces when tenancy is set, e.g. [shop], or ["*"] for all' in error
    assert rules_of(rule_with('namespaces: ["*"]' + grant)).metrics["a"].namespaces == Glob(("*",))


def test_aliases_dont_multiply() -> None:
    bomb = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 20))
    began = process_time()
    assert "metrics[8]: must be a map" in mistakes_in(f"{bomb}metrics: *a19")[-1]
    assert process_time() - began < 1


NODES = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(),
        st.floats(),
        st.dates(),
        st.text(max_size=8),
        st.sampled_from(["a", "x*", "eu", "tube", "ready + reserved", "fail", "5m", "10"]),
    ),
    lambda nodes: st.one_of(
        st.lists(nodes, max_size=4),
        st.dictionaries(
            st.one_of(
                st.sampled_from(["name", "tubes", "servers", "value", "per", "onFailure", "maxAge", "namespaces"]),
                st.sampled_from(["metrics", "tenancy", "hold", "value"]),
                st.text(max_size=4),
                st.integers(),
            ),
            nodes,
            max_size=6,
        ),
    ),
    max_leaves=30,
)


@given(st.lists(NODES, max_size=4), st.lists(NODES, max_size=3))
def test_any_yaml_is_rules_or_rejected(metrics: list[object], tenancy: list[object]) -> None:
    with suppress(SettingError):
        rules_of(yaml.safe_dump({"metrics": metrics, "tenancy": tenancy}))


@given(st.one_of(st.binary(), st.text("metrics:[]{}- \n&a*!|>'\"?#,%@`~<=é\ud7ff\x85").map(str.encode)))
def test_any_content_is_rules_or_rejected(content: bytes) -> None:
    with suppress(SettingError):
        parse_rules(content, "rules.yaml", SERVERS)


TUBES = st.from_regex(r"[A-Za-z0-9+/;.$_()][A-Za-z0-9+/;.$_()\-]{0,20}", fullmatch=True)
LABELS = st.from_regex(r"[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?", fullmatch=True)
WRITTEN_RULES = st.fixed_dictionaries(
    {
        "name": LABELS.filter(lambda name: not name.startswith("tube-")),
        "tubes": st.lists(st.one_of(TUBES, TUBES.map("{}*".format)), min_size=1, max_size=4),
    },
    optional={
        "servers": st.lists(st.sampled_from(SERVERS), min_size=1),
        "value": st.sampled_from(sorted(FIELDS)),
        "per": st.lists(st.sampled_from(["tube", "server"])),
        "maxAge": st.integers(1, 999).map("{}s".format),
        "onFailure": st.one_of(st.just("fail"), st.fixed_dictionaries({"hold": st.just("5m")})),
        "namespaces": st.lists(LABELS, min_size=1, max_size=3),
    },
)


@given(st.lists(WRITTEN_RULES, max_size=5, unique_by=lambda rule: rule["name"]))
def test_every_valid_rule_is_parsed_as_written(written: list[dict[str, Any]]) -> None:
    rules = rules_of(yaml.safe_dump({"metrics": written}))
    assert [*rules.metrics] == [rule["name"] for rule in written]
    for rule in written:
        read = rules.metrics[rule["name"]]
        assert list(read.tubes.patterns) == rule["tubes"]
        assert read.formula.text == rule.get("value", "ready + reserved")
        assert read.servers == (frozenset(rule["servers"]) if "servers" in rule else None)
        assert read.per == frozenset(rule.get("per", ()))
        assert read.namespaces == (Glob(tuple(rule["namespaces"])) if "namespaces" in rule else None)


def test_an_error_is_reported_to_programs_too() -> None:
    with pytest.raises(InvalidFileError) as refused:
        rules_of("metrics: [{}]")
    assert refused.value.errors == ("rules.yaml: metrics[0]: has no name", "rules.yaml: metrics[0]: has no tubes")
