"""The file of `serve --rules`: YAML → Rules, or every mistake in it at once, each with the rule and the key.

    metrics:
      - name: checkout-backlog
        tubes: [checkout, "checkout-*"]
        servers: [eu, us]
        value: ready + reserved + 0.5 * delayed
        per: [tube]
        onFailure: fail
        maxAge: 15s
        namespaces: [shop]
    tenancy:
      - namespaces: [shop, "team-*"]
        tubes: [checkout, "shop-*"]

Everything but a rule's name and tubes may be left out.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType

from app.metrics.arithmetic import MOST
from app.metrics.fields import NAMES
from app.metrics.formula import MOST_DIGITS, parse_formula
from app.metrics.glob_syntax import check_namespace_pattern, check_tube_pattern
from app.metrics.rule import Fail, Formula, Glob, Grant, Hold, Instead, Label, OnFailure, Rule, Rules
from app.metrics.yaml_nodes import Mistakes, Written, compose, quoted
from app.settings import SettingError, did_you_mean, is_dns_label, parse_duration

MOST_BYTES = 2**20
MOST_RULES = 1_000
MOST_LISTED = 1_000
"""Of tubes, servers or namespaces in one list."""
DEFAULT_FORMULA: Formula = parse_formula("ready + reserved", NAMES)

_KEYS = ("name", "tubes", "servers", "value", "per", "onFailure", "maxAge", "namespaces")
_NO_NAMES = Glob(())
_FAIL: OnFailure = Fail()
_BUILT_IN = "tube-"
_OF_NAMESPACES = frozenset({"finalize", "status"})
_NUMBER = re.compile(rf"(?=.{{1,{MOST_DIGITS}}}$)(0|[1-9][0-9]*)(\.[0-9]+)?")
_POLICIES = "must be fail, {hold: 5m} or {value: 10}"


def load_rules(path: Path, server_names: Collection[str]) -> Rules:
    """Read a file of rules about these servers. Raises SettingError, with a line for each mistake."""
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SettingError(f"{path}: can't be read: {error.strerror or error}") from error
    return parse_rules(content, str(path), server_names)


def parse_rules(content: bytes, file: str, server_names: Collection[str]) -> Rules:
    """The same from the file's content. Raises SettingError."""
    if len(content) > MOST_BYTES:
        raise SettingError(f"{file}: has more than {MOST_BYTES // 2**20} MiB")
    root = compose(content, file)
    if root is None:
        return Rules()
    mistakes = Mistakes(file)
    rules = _rules(Written(root, "", mistakes), server_names)
    mistakes.raise_any()
    return rules


def _rules(whole: Written, server_names: Collection[str]) -> Rules:
    if whole.is_nothing:
        return Rules()
    keys = _keys_of(whole, ("metrics", "tenancy"), required=())
    grants = tuple(_grant(item) for item in _entries(keys.get("tenancy")))
    metrics = [_rule(item, server_names, tenancy=bool(grants)) for item in _entries(keys.get("metrics"))]
    for at, name in _repeated(rule.name for rule in metrics):
        whole.wrong(f'metrics[{at}] "{name}": name: an earlier rule has the same')
    return Rules(MappingProxyType({rule.name: rule for rule in metrics}), grants)


def _entries(listed: Written | None) -> list[Written]:
    """None where only the key is written: all its items may have been commented out."""
    if listed is None or listed.is_nothing:
        return []
    return listed.read(lambda entries: entries.items(MOST_RULES), [])


def _repeated(names: Iterable[str]) -> Iterator[tuple[int, str]]:
    seen = {""}  # what is no name has been told already
    for at, name in enumerate(names):
        if name in seen and name:
            yield at, name
        seen.add(name)


def _rule(item: Written, server_names: Collection[str], *, tenancy: bool) -> Rule:
    keys = _keys_of(item.titled_by("name"), _KEYS, required=("name", "tubes"))
    rule = Rule(
        name=_of(keys, "name", _name, ""),
        tubes=_of(keys, "tubes", _tubes, _NO_NAMES),
        formula=_of(keys, "value", _formula, DEFAULT_FORMULA),
        servers=_of(keys, "servers", partial(_servers, server_names), None),
        per=_of(keys, "per", _per, frozenset()),
        on_failure=_of(keys, "onFailure", _on_failure, _FAIL),
        max_age_s=_of(keys, "maxAge", _duration, None),
        namespaces=_of(keys, "namespaces", _namespaces, None),
    )
    if rule.per and isinstance(rule.on_failure, Instead):
        keys["onFailure"].wrong(
            "{value: …} can't stand beside per, because nobody knows which labels that value would carry"
        )
    if tenancy and item.is_map and "namespaces" not in keys:
        item.titled_by("name").wrong(
            "has no namespaces, and beside tenancy it needs them: its sum could betray what a namespace may not see;"
            ' name who may ask for it, or write namespaces: ["*"]'
        )
    return rule


def _grant(item: Written) -> Grant:
    keys = _keys_of(item, ("namespaces", "tubes"), required=("namespaces", "tubes"))
    return Grant(_of(keys, "namespaces", _namespaces, _NO_NAMES), _of(keys, "tubes", _tubes, _NO_NAMES))


def _keys_of(item: Written, known: Sequence[str], required: Sequence[str]) -> dict[str, Written]:
    """Nothing where it's no map."""
    keys: dict[str, Written] = item.read(lambda written: written.keys(known), {})
    for key in required if item.is_map else ():
        if key not in keys:
            item.wrong(f"has no {key}")
    return keys


def _of[T](keys: Mapping[str, Written], key: str, reader: Callable[[Written], T], otherwise: T) -> T:
    return keys[key].read(reader, otherwise) if key in keys else otherwise


def _name(written: Written) -> str:
    name = written.text()
    if not is_dns_label(name):
        raise SettingError(
            "must be at most 63 lower-case letters, digits and '-', with a letter or digit at each end: it is part of"
            " a path, and Kubernetes asks for metrics in lower case"
        )
    if name.startswith(_BUILT_IN):
        raise SettingError(f"can't begin with {_BUILT_IN}, as the built-in metrics of single tubes do")
    if name in _OF_NAMESPACES:
        raise SettingError(
            f"can't be {name}: in a path behind a namespace, Kubernetes takes that for a part of the namespace"
        )
    return name


def _tubes(written: Written) -> Glob:
    return _glob(written, check_tube_pattern, 'is empty; name a tube, or write ["*"] for all')


def _namespaces(written: Written) -> Glob:
    return _glob(written, check_namespace_pattern, 'is empty; name a namespace, or write ["*"] for all')


def _glob(written: Written, check: Callable[[str], str], if_empty: str) -> Glob:
    return Glob(tuple(_each(written, lambda item: check(item.text()), "", if_empty)))


def _each[T](written: Written, reader: Callable[[Written], T], otherwise: T, if_empty: str) -> list[T]:
    items = written.texts(MOST_LISTED)
    if not items:
        raise SettingError(if_empty)
    return [item.read(reader, otherwise) for item in items]


def _servers(known: Collection[str], written: Written) -> frozenset[str]:
    def server(item: Written) -> str:
        return _one_of(item.text(), "server", known)

    return frozenset(_each(written, server, "", "is empty; name a server, or leave the key out for all"))


def _per(written: Written) -> frozenset[Label]:
    return frozenset(item.read(_label, Label.TUBE) for item in written.texts(MOST_LISTED))


def _label(written: Written) -> Label:
    return Label(_one_of(written.text(), "label", tuple(Label)))


def _one_of(text: str, what: str, known: Collection[str]) -> str:
    if text in known:
        return text
    raise SettingError(
        f"there is no {what} {quoted(text)}; {did_you_mean(text, known) or f'known: {", ".join(known)}'}"
    )


def _formula(written: Written) -> Formula:
    return parse_formula(written.scalar(), NAMES)


def _duration(written: Written) -> float:
    return parse_duration(written.scalar())


def _on_failure(written: Written) -> OnFailure:
    if not written.is_map:
        if written.scalar() == "fail":
            return Fail()
        raise SettingError(f"{_POLICIES}, not {quoted(written.scalar())}")
    keys = written.keys(("hold", "value"))
    if len(keys) != 1:
        raise SettingError(_POLICIES)
    if "hold" in keys:
        return Hold(keys["hold"].read(_duration, 0.0))
    return Instead(keys["value"].read(_number, Fraction(0)))


def _number(written: Written) -> Fraction:
    text = written.scalar()
    if not _NUMBER.fullmatch(text):
        raise SettingError(
            f"{quoted(text)} isn't a plain number from 0 on; write it with a point before decimals and without a"
            " suffix: 10 or 1.5"
        )
    if Fraction(text) > MOST:
        raise SettingError(f"{text} is more than an autoscaler can count ({MOST})")
    return Fraction(text)
