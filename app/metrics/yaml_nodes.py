"""A YAML file as nodes that know their place in it, so that all its mistakes can be told at once.

What is written is judged as written: before YAML makes a number of `007` and a boolean of `no`, and before the second
of two equal keys wins.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import yaml

from app.settings import MistakesError, SettingError, did_you_mean

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
