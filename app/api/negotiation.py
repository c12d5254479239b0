"""Content negotiation: JSON, YAML, or a Table for people, as the Accept header prefers.

No protobuf: the HPA controller prefers it but accepts anything (`application/vnd.kubernetes.protobuf, */*`); kubectl
and kube-apiserver ask for JSON. A client that accepts only protobuf gets 406 with the available types.
"""

from dataclasses import dataclass
from functools import lru_cache

from app.api.status import StatusError

JSON, YAML = "application/json", "application/yaml"
MEDIA_TYPES = (JSON, YAML)
"""In the order of the server's preference."""
MAX_RANGES = 32
"""Media ranges of an Accept header that are read: clients send a dozen at most."""
_MAX_PARAMETERS = 8
"""Of a media range."""
_MAX_CACHED = 512
"""Characters of an Accept header."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of object that a response is to be converted to (`as=…;g=…;v=…`)."""

    kind: str
    group: str
    version: str


@dataclass(frozen=True, slots=True)
class Representation:
    """A media type, and the kind that the object is converted to."""

    media_type: str = JSON
    kind: Kind | None = None
    """None: not converted."""


def negotiate(accept: str, kinds: frozenset[Kind] = frozenset()) -> Representation:
    """Return the representation that Accept prefers; `kinds` are what the object can be converted to.

    Raises StatusError 406.
    """
    found = (_cached if len(accept) <= _MAX_CACHED else _negotiate)(accept, kinds)
    if found is None:
        raise StatusError("NotAcceptable", f"only the following media types are available: {', '.join(MEDIA_TYPES)}")
    return found


def _negotiate(accept: str, kinds: frozenset[Kind]) -> Representation | None:
    if not accept:
        return Representation()
    ranges: list[tuple[tuple[float, int], str, Kind | None]] = []
    for part in accept.split(",", MAX_RANGES)[:MAX_RANGES]:
        media_range, *parameters = (
            word.strip() for word in part.split(";", _MAX_PARAMETERS + 1)[: _MAX_PARAMETERS + 1]
        )
        given = {key.strip(): value.strip() for key, _, value in (each.partition("=") for each in parameters)}
        try:
            quality = float(given.get("q", "1"))
        except ValueError:
            quality = 0.0
        kind = None
        if not given.keys().isdisjoint({"as", "g", "v"}):
            kind = Kind(given.get("as", ""), given.get("g", ""), given.get("v", ""))
        if kind is None or kind in kinds:
            ranges.append(((-quality, media_range.count("*")), media_range, kind))
    for _, media_range, kind in sorted(ranges, key=lambda each: each[0]):
        for media_type in MEDIA_TYPES:
            if media_range in {media_type, "application/*", "*/*", "*"}:
                return Representation(media_type, kind)
    return None


_cached = lru_cache(maxsize=256)(_negotiate)
