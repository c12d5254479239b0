"""The file of `serve --rules`: YAML to Rules, or all errors in it at once, each with its rule and key.

    metrics:
      - name: checkout-backlog
        tubes: [checkout, "checkout-*"]
        servers: [eu, us]
        value: ready + reserved + 0.5 * delayed
        per: [tube]
        onFailure: fail
        maxAge: 15s
        paused: ignore
        busy: {keep: 10}
        unit: orders
        namespaces: [shop]
    tenancy:
      - namespaces: [shop, "team-*"]
        tubes: [checkout, "shop-*"]

Only a rule's name and tubes are required; with tenancy, its namespaces too.
"""

import re
from collections.abc import Callable, Collection, Sequence
from fractions import Fraction
from functools import partial
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from app.metrics.built_in import TUBE_PREFIX
from app.metrics.formula import MAX, MAX_DIGITS, Formula, parse_formula
from app.metrics.rules import (
    Fail,
    Glob,
    Grant,
    Hold,
    Label,
    OnFailure,
    Rule,
    Rules,
    Substitute,
    check_namespace_pattern,
    check_tube_pattern,
)
from app.settings import InvalidFileError, SettingError, did_you_mean, is_dns_label, parse_duration

MAX_BYTES = 2**20
MAX_NESTED = 20
"""Lists and maps within each other: PyYAML's C parser crashes at tens of thousands."""
MAX_ITEMS = 1_000
"""Rules, and tubes, servers or namespaces of one."""
MAX_ERRORS = 100
MAX_UNIT = 20
"""Characters."""
DEFAULT_FORMULA: Formula = parse_formula("ready + reserved")

_KEYS = ("name", "tubes", "servers", "value", "per", "onFailure", "maxAge", "paused", "busy", "unit", "namespaces")
_SUBRESOURCES = frozenset({"finalize", "status"})
"""Of a namespace: in a path, Kubernetes doesn't parse them as a metric."""
_NULL = "tag:yaml.org,2002:null"
_NUMBER = re.compile(rf"(?=.{{1,{MAX_DIGITS}}}$)(0|[1-9][0-9]*)(\.[0-9]+)?")
_NO_SERVER = "name a server, or leave the key out for all"
_BUSY = 'write {keep: 10} if your HPA has averageValue: "10"'
_POLICIES = "must be fail, {hold: 5m} or {value: 10}"
_SHOWN = 60


class _Loader(yaml.CSafeLoader):
    """Leaves every scalar but null as the text that was written, `007` and `no` too, and rejects duplicate keys."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - as PyYAML has it
        first: [(tag, pattern) for tag, pattern in resolvers if tag == _NULL]
        for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }
    yaml_constructors = {  # noqa: RUF012 - as PyYAML has it
        tag: construct
        for tag, construct in yaml.CSafeLoader.yaml_constructors.items()
        if tag is None or tag.rpartition(":")[2] in {"null", "str", "seq", "map"}
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode):
                if key.value in seen:
                    message = f"{_quote(key.value)} is written twice"
                    raise yaml.constructor.ConstructorError(None, None, message, key.start_mark)
                seen.add(key.value)
        return super().construct_mapping(node, deep)


class _Map:
    """One map of the file. Errors in its keys are added to `errors`, each with its place."""

    def __init__(
        self, value: Any, where: str, known: Sequence[str], required: Sequence[str], errors: list[str]
    ) -> None:
        self.where = where
        entries = value.items() if isinstance(value, dict) else ()
        self.values: dict[Any, Any] = {key: each for key, each in entries if each is not None or key in required}
        """Without optional keys that are null: that means not set."""
        self._errors = errors
        if not isinstance(value, dict):
            self.error(f"must be a map with {', '.join(known)}, not {_kind(value)}")
            return
        for key in islice((key for key in value if key not in known), MAX_ERRORS):
            near = did_you_mean(str(key), known) or f"there are {', '.join(known)}"
            self.error(f"unknown key {_quote(str(key))}; {near}")
        for key in required:
            if key not in value:
                self.error(f"has no {key}")

    def error(self, message: str) -> None:
        self._errors.append(f"{self.where}: {message}")

    def get[T, D](self, key: str, parse: Callable[[Any], T], default: D) -> T | D:
        """Return the key's value, or `default` if it is missing or invalid."""
        if key not in self.values:
            return default
        try:
            return parse(self.values[key])
        except InvalidFileError as error:
            for item in error.errors:
                self.error(f"{key}{item}")
        except SettingError as error:
            self.error(f"{key}: {error}")
        return default


def load_rules(path: Path, server_names: Collection[str]) -> Rules:
    """Read a file of rules about these servers. Raises SettingError, with a line for each error."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise SettingError(f"{path}: can't be read: {error.strerror or error}") from error
    return parse_rules(content, str(path), server_names)


def parse_rules(content: bytes, file: str, server_names: Collection[str]) -> Rules:
    """Parse the file's content. Raises SettingError, with a line for each error."""
    document = _load(content, file)
    if document is None:
        return Rules()
    errors: list[str] = []
    root = _Map(document, file, ("metrics", "tenancy"), (), errors)
    grants = []
    for at, entry in enumerate(root.get("tenancy", _list, [])):
        keys = _Map(entry, f"{file}: tenancy[{at}]", ("namespaces", "tubes"), ("namespaces", "tubes"), errors)
        grants.append(Grant(keys.get("namespaces", _namespaces, Glob(())), keys.get("tubes", _tubes, Glob(()))))
    written = enumerate(root.get("metrics", _list, []))
    rules = [_rule(entry, f"{file}: metrics[{at}]", server_names, bool(grants), errors) for at, entry in written]
    metrics: dict[str, Rule] = {}
    for at, rule in enumerate(rules):
        if rule.name and rule.name in metrics:
            errors.append(f'{file}: metrics[{at}] "{rule.name}": name: an earlier rule has the same')
        metrics[rule.name] = rule
    if len(errors) > MAX_ERRORS:
        errors = [*errors[:MAX_ERRORS], f"{file}: only the first {MAX_ERRORS} errors are listed"]
    if errors:
        raise InvalidFileError(errors)
    return Rules(MappingProxyType(metrics), tuple(grants))


def _load(content: bytes, file: str) -> Any:
    """Return the document, or None if it is empty. Raises SettingError."""
    if len(content) > MAX_BYTES:
        raise SettingError(f"{file}: has more than {MAX_BYTES // 2**20} MiB")
    try:
        text = content.decode("utf-8-sig")
        depth = 0
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
            if depth > MAX_NESTED:
                raise SettingError(f"{file}: nests more than {MAX_NESTED} lists and maps")
        return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader
    except UnicodeDecodeError as error:
        raise SettingError(
            f"{file}: isn't UTF-8 text: byte {error.start + 1:,} is {content[error.start]:#04x}"
        ) from None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        message = ", ".join(filter(None, (error.context, error.problem)))
        advice = "; a pattern that begins with * must be in quotes" if "alias" in message else ""
        raise SettingError(f"{file}: {place}invalid YAML: {message}{advice}") from None
    except yaml.YAMLError as error:
        raise SettingError(f"{file}: invalid YAML: {' '.join(str(error).split())}") from None


def _rule(value: Any, where: str, server_names: Collection[str], has_tenancy: bool, errors: list[str]) -> Rule:
    name = value.get("name") if isinstance(value, dict) else None
    keys = _Map(value, f"{where} {_quote(name)}" if isinstance(name, str) else where, _KEYS, ("name", "tubes"), errors)
    server, label = partial(_one_of, "server", server_names), partial(_one_of, "label", tuple(Label))
    rule = Rule(
        name=keys.get("name", _name, ""),
        tubes=keys.get("tubes", _tubes, Glob(())),
        formula=_formula(keys),
        servers=keys.get("servers", lambda names: frozenset(_each(names, server, _NO_SERVER)), None),
        per=keys.get("per", lambda labels: frozenset(map(Label, _each(labels, label))), frozenset()),
        on_failure=keys.get("onFailure", _on_failure, Fail()),
        max_age_s=keys.get("maxAge", lambda text: parse_duration(_text(text)), None),
        ignores_paused=keys.get("paused", _ignores_paused, False),
        unit=keys.get("unit", _unit, None),
        namespaces=keys.get("namespaces", _namespaces, None),
    )
    if rule.per and isinstance(rule.on_failure, Substitute):
        keys.error(
            "onFailure value can't be combined with per, because it has no labels: use fail or hold, or remove per"
        )
    if has_tenancy and isinstance(value, dict) and value.get("namespaces") is None:
        keys.error(
            'requires namespaces when tenancy is set, e.g. [shop], or ["*"] for all, because it covers tubes of others'
        )
    return rule


def _formula(keys: _Map) -> Formula:
    formula = keys.get("value", lambda text: parse_formula(_text(text)), DEFAULT_FORMULA)
    keep = keys.get("busy", _busy, "")
    if keep:
        try:
            return parse_formula(f"max({formula.text}, {keep} * reserved)")
        except SettingError as error:
            keys.error(f"busy: max(value, {keep} * reserved) {error}")
    return formula


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise SettingError(f"must be text, not {_kind(value)}")
    return value


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        raise SettingError(f"must be a list, not text; write [{value[:_SHOWN]}]")
    if not isinstance(value, list):
        raise SettingError(f"must be a list, not {_kind(value)}")
    if len(value) > MAX_ITEMS:
        raise SettingError(f"has {len(value):,} items, the limit is {MAX_ITEMS:,}")
    return value


def _each[T](value: Any, parse: Callable[[str], T], if_empty: str = "") -> list[T]:
    """Parse a list of text. Raises SettingError, or InvalidFileError with the index of each invalid item."""
    items, errors = [], []
    for at, item in enumerate(_list(value)):
        try:
            items.append(parse(_text(item)))
        except SettingError as error:
            errors.append(f"[{at}]: {error}")
    if errors:
        raise InvalidFileError(errors)
    if not items and if_empty:
        raise SettingError(f"is empty; {if_empty}")
    return items


def _name(value: Any) -> str:
    name = _text(value)
    if not is_dns_label(name):
        raise SettingError(
            "must be at most 63 lower-case letters, digits and '-', with a letter or digit at each end: it is part of"
            " a URL path, and Kubernetes lowercases metric names"
        )
    if name.startswith(TUBE_PREFIX):
        raise SettingError(f"can't begin with {TUBE_PREFIX}, as the built-in metrics of single tubes do")
    if name in _SUBRESOURCES:
        raise SettingError(f"{name} is reserved (Kubernetes parses it as a namespace subresource): choose another")
    return name


def _tubes(value: Any) -> Glob:
    return Glob(tuple(_each(value, check_tube_pattern, 'name a tube, or write ["*"] for all')))


def _namespaces(value: Any) -> Glob:
    return Glob(tuple(_each(value, check_namespace_pattern, 'name a namespace, or write ["*"] for all')))


def _one_of(what: str, known: Collection[str], text: str) -> str:
    if text not in known:
        near = did_you_mean(text, known) or f"known: {', '.join(known)}"
        raise SettingError(f"there is no {what} {_quote(text)}; {near}")
    return text


def _ignores_paused(value: Any) -> bool:
    if value not in ("count", "ignore"):
        raise SettingError(f"must be count or ignore{_instead(value)}")
    return bool(value == "ignore")


def _busy(value: Any) -> str:
    """Return the metric's value for each reserved job."""
    match value:
        case {"keep": str(number)} if len(value) == 1:
            if not Fraction(_plain_number(number)):
                raise SettingError(f"{_quote(number)} must be greater than 0; {_BUSY}")
            return number
        case "keep":
            raise SettingError(f"keep requires a number, because rules don't know the targets of HPAs; {_BUSY}")
    raise SettingError(f"must be {{keep: NUMBER}}{_instead(value)}; {_BUSY}")


def _instead(value: Any) -> str:
    return f", not {_quote(value)}" if isinstance(value, str) else ""


def _plain_number(text: str) -> str:
    if not _NUMBER.fullmatch(text):
        raise SettingError(
            f"{_quote(text)} isn't a plain number from 0 on; write it with a point before decimals and without"
            " a suffix: 10 or 1.5"
        )
    return text


def _unit(value: Any) -> str:
    unit = _text(value)
    if not unit or unit != unit.strip() or not unit.isprintable() or len(unit) > MAX_UNIT:
        raise SettingError(f"must be 1 to {MAX_UNIT} printable characters without blanks around them, such as orders")
    return unit


def _on_failure(value: Any) -> OnFailure:
    if isinstance(value, dict):  # null means not set, as in _Map
        value = {key: each for key, each in value.items() if each is not None} or "fail"
    match value:
        case "fail":
            return Fail()
        case {"hold": duration} if len(value) == 1:
            return Hold(parse_duration(_text(duration)))
        case {"value": number} if len(value) == 1:
            text = _plain_number(_text(number))
            if Fraction(text) > MAX:
                raise SettingError(f"{text} is above the Kubernetes limit ({MAX})")
            return Substitute(Fraction(text))
    raise SettingError(f"{_POLICIES}{_instead(value)}")


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {str: "text", list: "a list", dict: "a map"}
    return kinds.get(type(value), "nothing")


def _quote(text: str) -> str:
    """Return text for a message: on one line, and cut if it is long."""
    return f'"{text}"' if text.isprintable() and len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"
