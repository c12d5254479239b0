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

A YAML file as nodes that know their place in it, so that all its mistakes can be told at once.

What is written is judged as written: before YAML makes a number of `007` and a boolean of `no`, and before the second
of two equal keys wins.
"""

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from types import MappingProxyType

import yaml

from app.metrics.formula import MAX, MAX_DIGITS, parse_formula
from app.metrics.rules import (
    NAMES,
    Fail,
    Formula,
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
from app.settings import MistakesError, SettingError, did_you_mean, is_dns_label, parse_duration

MOST_NODES = 100_000
MOST_ALIASES = 200
"""What one stands for is read again wherever it stands."""
MOST_NESTED = 20
MOST_KEYS = 100
MOST_MISTAKES = 100

_TAG = "tag:yaml.org,2002:"
_KINDS = {"bool": "true or false", "int": "a number", "float": "a number", "timestamp": "a date"}
_SHOWN = 60
_STARTS, _ENDS = (
    (yaml.SequenceStartEvent, yaml.MappingStartEvent),
    (yaml.SequenceEndEvent, yaml.MappingEndEvent),
)


class Mistakes:
    """What has been found wrong with one file."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._lines: list[str] = []

    def add(self, where: str, sentence: str) -> None:
        """Note one more. Raises MistakesError once there are as many as anybody would read."""
        self._lines.append(f"{self._file}: {where}: {sentence}" if where else f"{self._file}: {sentence}")
        if len(self._lines) == MOST_MISTAKES:
            raise MistakesError([*self._lines, f"{self._file}: these are the first {MOST_MISTAKES} mistakes"])

    def raise_any(self) -> None:
        """Raises MistakesError if there are some."""
        if self._lines:
            raise MistakesError(self._lines)


@dataclass(frozen=True, slots=True)
class Written:
    """One node: a map, a list or a scalar. What reads it raises SettingError, and `read` notes that."""

    node: yaml.Node
    where: str
    """As people are told it: `metrics[2] "checkout-backlog": tubes[0]`; empty for the whole file."""
    mistakes: Mistakes

    def wrong(self, sentence: str) -> None:
        """Note a mistake."""
        self.mistakes.add(self.where, sentence)

    def read[T](self, reader: Callable[["Written"], T], otherwise: T) -> T:
        """What the reader makes of it; `otherwise` where that is a mistake, which is noted."""
        try:
            return reader(self)
        except MistakesError:
            raise
        except SettingError as error:
            self.wrong(str(error))
            return otherwise

    def titled_by(self, key: str) -> "Written":
        """The same, its place told with what is written at a key."""
        pairs = self.node.value if self.is_map else ()
        titles = [value.value for name, value in pairs if name.value == key and isinstance(value, yaml.ScalarNode)]
        return replace(self, where=f"{self.where} {quoted(titles[0])}") if titles else self

    @property
    def is_map(self) -> bool:
        """Whether it has keys."""
        return isinstance(self.node, yaml.MappingNode)

    @property
    def is_nothing(self) -> bool:
        """Whether the key has no value, or `null`."""
        return self.node.tag == f"{_TAG}null"

    def keys(self, known: Sequence[str]) -> dict[str, "Written"]:
        """Of a map its values; keys that aren't known or come twice are noted. Raises SettingError."""
        if not isinstance(self.node, yaml.MappingNode):
            raise SettingError(f"must be a map with {_listed(known)}, not {self._kind()}")
        if len(self.node.value) > MOST_KEYS:
            raise SettingError(f"has {len(self.node.value):,} keys, where there are only {_listed(known)}")
        found: dict[str, Written] = {}
        for key, value in self.node.value:
            name = self._key(key, known)
            if name in found:
                self.wrong(f"{name} is written twice")
            elif name:
                found[name] = Written(value, f"{self.where}: {name}" if self.where else name, self.mistakes)
        return found

    def _key(self, key: yaml.Node, known: Sequence[str]) -> str:
        if isinstance(key, yaml.ScalarNode) and key.value in known:
            return str(key.value)
        if isinstance(key, yaml.ScalarNode):
            near = did_you_mean(key.value, known) or f"there are {_listed(known)}"
            self.wrong(f"unknown key {quoted(key.value)}; {near}")
        else:
            self.wrong(f"a key must be one of {_listed(known)}, not a list or a map")
        return ""

    def texts(self, most: int) -> list["Written"]:
        """Of a list of text its items; one text alone is a mistake that is easily made. Raises SettingError."""
        if isinstance(self.node, yaml.ScalarNode) and self.node.value and not self.is_nothing:
            raise SettingError(f"must be a list, not {self._kind()}; write [{self.node.value[:_SHOWN]}]")
        return self.items(most)

    def items(self, most: int) -> list["Written"]:
        """Of a list, at most so many. Raises SettingError."""
        if not isinstance(self.node, yaml.SequenceNode):
            raise SettingError(f"must be a list, not {self._kind()}")
        if len(self.node.value) > most:
            raise SettingError(f"has {len(self.node.value):,} items, and at most {most:,} are taken")
        return [Written(node, f"{self.where}[{at}]", self.mistakes) for at, node in enumerate(self.node.value)]

    def text(self) -> str:
        """Of a scalar that YAML takes for text. Raises SettingError."""
        written = self.scalar()
        if self.node.tag == f"{_TAG}str":
            return written
        short = written[:_SHOWN]
        raise SettingError(f'{short!r} is {self._kind()} in YAML, not text; write it in quotes: "{short}"')

    def scalar(self) -> str:
        """Of any scalar, number or text, what is written. Raises SettingError."""
        if self.is_nothing:
            raise SettingError("has no value; give one, or leave it out")
        if isinstance(self.node, yaml.ScalarNode):
            return str(self.node.value)
        raise SettingError(f"must be text, not {self._kind()}")

    def _kind(self) -> str:
        if self.is_nothing:
            return "nothing"
        if isinstance(self.node, yaml.ScalarNode):
            return _KINDS.get(self.node.tag.removeprefix(_TAG), "text" if self.node.tag == f"{_TAG}str" else "special")
        return "a list" if isinstance(self.node, yaml.SequenceNode) else "a map"


def compose(content: bytes, file: str) -> yaml.Node | None:
    """The root of a YAML document; None where there is none. Raises SettingError."""
    try:
        text = content.decode("utf-8-sig")
        _check_size(text)
        return yaml.compose(text, Loader=yaml.CSafeLoader)
    except UnicodeDecodeError as error:
        raise SettingError(
            f"{file}: isn't UTF-8 text: byte {error.start + 1:,} is {content[error.start]:#04x}"
        ) from None
    except yaml.MarkedYAMLError as error:
        raise SettingError(f"{file}: {_place(error)}isn't YAML: {_said(error)}") from None
    except yaml.reader.ReaderError as error:
        raise SettingError(f"{file}: isn't YAML: {error.reason} ({error.character:#x})") from None
    except SettingError as error:
        raise SettingError(f"{file}: {error}") from None


def _check_size(text: str) -> None:
    depth = aliases = 0
    for count, event in enumerate(yaml.parse(text, Loader=yaml.CSafeLoader)):
        depth += isinstance(event, _STARTS) - isinstance(event, _ENDS)
        aliases += isinstance(event, yaml.AliasEvent)
        if aliases > MOST_ALIASES:
            raise SettingError(f"has more than {MOST_ALIASES} aliases (*name)")
        if depth > MOST_NESTED:
            line = event.start_mark.line + 1 if event.start_mark else 0
            raise SettingError(f"line {line} nests more than {MOST_NESTED} lists and maps")
        if count > MOST_NODES:
            raise SettingError(f"has more than {MOST_NODES:,} keys, items and values")


def _place(error: yaml.MarkedYAMLError) -> str:
    mark = error.problem_mark
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""


def _said(error: yaml.MarkedYAMLError) -> str:
    said = ", ".join(filter(None, (error.context, error.problem)))
    return f"{said}; a pattern that begins with * must be in quotes" if "alias" in said else said


def _listed(names: Sequence[str]) -> str:
    *most, last = names
    return f"{', '.join(most)} and {last}" if most else last


def quoted(text: str) -> str:
    """For a message: on one line, and cut when long."""
    return f'"{text}"' if text.isprintable() and len(text) <= _SHOWN else f"{text[:_SHOWN]!r}…"


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
_NUMBER = re.compile(rf"(?=.{{1,{MAX_DIGITS}}}$)(0|[1-9][0-9]*)(\.[0-9]+)?")
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
    if rule.per and isinstance(rule.on_failure, Substitute):
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
    return Substitute(keys["value"].read(_number, Fraction(0)))


def _number(written: Written) -> Fraction:
    text = written.scalar()
    if not _NUMBER.fullmatch(text):
        raise SettingError(
            f"{quoted(text)} isn't a plain number from 0 on; write it with a point before decimals and without a"
            " suffix: 10 or 1.5"
        )
    if Fraction(text) > MAX:
        raise SettingError(f"{text} is more than an autoscaler can count ({MAX})")
    return Fraction(text)
