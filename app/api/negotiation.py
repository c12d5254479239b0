"""In which form an answer is wanted: JSON, YAML, a table for people; read from Accept as Kubernetes' servers read it.

No protobuf. Of Kubernetes' own clients the HPA controller prefers it, and takes anything (`Accept:
application/vnd.kubernetes.protobuf, */*`), kubectl asks for JSON, kube-apiserver for JSON: none sends it alone. A
client that does gets 406, which names what there is.
Sources: k8s.io/apiserver/pkg/endpoints/handlers/negotiation; github.com/emicklei/go-restful.

The Accept header, taken apart as the Go library under Kubernetes' servers does it: its order is a part of the wire.

Source: github.com/munnerz/goautoneg.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cmp_to_key, lru_cache

from app.api.status import StatusError
from app.go_syntax import parse_query

MOST_CLAUSES = 256
"""Of a longer header the rest isn't read: clients send a dozen at most, and sorting a million takes seconds."""
_MOST_BY_INSERTION = 12
"""Go's sort inserts so few, which shows, because the comparison isn't an order."""


@dataclass(frozen=True, slots=True)
class Clause:
    """One of the media ranges that a client accepts."""

    type: str
    subtype: str
    quality: float
    parameters: Mapping[str, str]

    def matches(self, media_type: str) -> bool:
        """Whether the range takes a media type in; its parameters have no say."""
        return f"{self.type}/{self.subtype}" in {media_type, f"{media_type.partition('/')[0]}/*", "*/*"}


def clauses(accept: str) -> list[Clause]:
    """Accept taken apart, what is wanted most first."""
    parsed = list(filter(None, map(_clause, accept.split(",", MOST_CLAUSES)[:MOST_CLAUSES])))
    return (
        _sorted_by_insertion(parsed) if len(parsed) <= _MOST_BY_INSERTION else sorted(parsed, key=cmp_to_key(_compare))
    )


def _clause(part: str) -> Clause | None:
    media_type, _, rest = part.strip(" ").partition(";")
    main, _, subtype = media_type.partition("/")
    main, subtype = main.strip(" "), subtype or ("*" if main.strip(" ") == "*" else "")
    if not subtype or "/" in subtype.removesuffix("/"):
        return None
    quality, parameters = 1.0, {}
    for parameter in rest.split(";"):
        key, _, value = parameter.partition("=")
        if not value or "=" in value.removesuffix("="):
            continue
        if key.strip(" ") == "q":
            quality = number(value)
        else:
            parameters[key.strip(" ")] = value.removesuffix("=").strip(" ")
    return Clause(main, subtype.removesuffix("/").strip(" "), quality, parameters)


def number(text: str) -> float:
    """A quality; one that isn't a number is none."""
    try:
        return float(text) if text.strip() == text and "_" not in text else 0.0
    except ValueError:
        return 0.0


def _comes_before(one: Clause, other: Clause) -> bool:
    return (
        one.quality > other.quality
        or (one.type != "*" and other.type == "*")
        or (one.subtype != "*" and other.subtype == "*")
    )


def _compare(one: Clause, other: Clause) -> int:
    return _comes_before(other, one) - _comes_before(one, other)


def _sorted_by_insertion(found: list[Clause]) -> list[Clause]:
    for end in range(1, len(found)):
        at = end
        while at and _comes_before(found[at], found[at - 1]):
            found[at - 1], found[at] = found[at], found[at - 1]
            at -= 1
    return found


JSON, YAML = "application/json", "application/yaml"
MEDIA_TYPES = (JSON, YAML)
"""In the order of the server's preference."""
PROTOBUF = "application/vnd.kubernetes.protobuf"
_STREAMS = (f"{JSON};stream=watch",)

_MOST_REMEMBERED = 512
"""Characters of an Accept header."""
_TRUE = frozenset({"1", "t", "T", "TRUE", "true", "True"})
_FOR_PEOPLE = (b"curl", b"Wget", b"Mozilla/5.0")
"""How the User-Agents begin that get JSON with line breaks."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that an answer is to be turned into (`as=…;g=…;v=…`)."""

    kind: str
    group: str
    version: str


@dataclass(frozen=True, slots=True)
class Form:
    """One form of an answer."""

    media_type: str = JSON
    kind: Kind | None = None
    """None: as it is."""
    pretty: bool = False


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the head of a request says about its answer."""

    query: bytes
    headers: Mapping[bytes, bytes]
    """By name in lower case; of several the first, as everywhere in Kubernetes."""

    @classmethod
    def of(cls, query: bytes, headers: Iterable[tuple[bytes, bytes]]) -> "Wishes":
        """Index a head."""
        return cls(query, dict(reversed(list(headers))))

    def header(self, name: bytes) -> str:
        """Its value, or nothing."""
        return self.headers.get(name, b"").decode("latin-1")

    @property
    def line_breaks(self) -> bool:
        """Whether JSON is for people."""
        if b"pretty" in self.query:
            wish = parse_query(self.query).get("pretty", [""])[0]
            if wish:
                return wish in _TRUE
        return self.headers.get(b"user-agent", b"").startswith(_FOR_PEOPLE)


@dataclass(frozen=True, slots=True)
class Offer:
    """What an answer can be had as."""

    kinds: frozenset[Kind | None] = frozenset({None})
    """None: as it is."""
    server_version: str = ""
    """What `sv=` may ask for."""


AS_IT_IS = Offer()


def negotiated(accept: str, offer: Offer = AS_IT_IS) -> Form | None:
    """The form that pleases most; None: nothing that there is would do."""
    if not accept:
        return Form()
    return _remembered(accept, offer) if len(accept) <= _MOST_REMEMBERED else _negotiated(accept, offer)


def check_route(accept: str, media_types: tuple[str, ...], *, streams: bool = False) -> None:
    """Raises StatusError 406 unless Accept has one of the types, literally: go-restful's look before all others."""
    has_one = _remembered_route if len(accept) <= _MOST_REMEMBERED else _has_one
    if not has_one(accept, media_types):
        available = ", ".join((*media_types, *(_STREAMS if streams else ())))
        raise StatusError("NotAcceptable", f"406: Not Acceptable\n\nAvailable representations: {available}", {})


def check_content_type(content_type: str, media_types: Iterable[str]) -> None:
    """Raises StatusError 415 where a body of another type is announced, even if there is none."""
    announced = {part.partition(";")[0].strip(" ") for part in content_type.split(",")}
    if content_type and announced.isdisjoint(media_types):
        raise StatusError("UnsupportedMediaType", "415: Unsupported Media Type", {})


def not_acceptable() -> StatusError:
    """None of the forms wanted can be had."""
    types = ", ".join(MEDIA_TYPES)
    return StatusError("NotAcceptable", f"only the following media types are accepted: {types}")


def _has_one(accept: str, media_types: tuple[str, ...]) -> bool:
    wanted = {part.partition(";")[0].strip(" ") for part in (accept or "*/*").split(",")}
    return not wanted.isdisjoint({"*/*", *media_types})


_remembered_route = lru_cache(maxsize=256)(_has_one)


def _negotiated(accept: str, offer: Offer) -> Form | None:
    for clause in clauses(accept):
        for media_type in MEDIA_TYPES:
            if clause.matches(media_type) and (form := _form(clause, media_type, offer)):
                return form
    return None


_remembered = lru_cache(maxsize=256)(_negotiated)


def _form(clause: Clause, media_type: str, offer: Offer) -> Form | None:
    """The clause's wishes for this media type, or None where one can't be met."""
    given = clause.parameters
    stream = given.get("stream", "")
    if stream and (stream != "watch" or media_type != JSON):
        return None
    kind = None
    if not given.keys().isdisjoint({"as", "g", "v"}):
        kind = Kind(given.get("as", ""), given.get("g", ""), given.get("v", ""))
    if kind not in offer.kinds or given.get("sv", "") not in {"", offer.server_version}:
        return None
    return Form(media_type, kind, given.get("pretty") == "1")
