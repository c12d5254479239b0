"""All servers and tubes as JSON: searched, sorted and paged here, so that ten thousand tubes cost a page no more."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from app.console.history import MemberName
from app.console.view import RATES, SHOWN, Json, TubeNow, View, count, pause_left, rate, row, server_json, tube_now

MOST_SIZE = 200
MOST_SEARCH = 200
_MOST_DIGITS = 6
_TEXTS = ("tube", "server")
SORTS = (*_TEXTS, *SHOWN, *RATES, "pauseLeft")


class BadQueryError(ValueError):
    """A page's query makes no sense; `str()` is a sentence."""


@dataclass(frozen=True, slots=True)
class Query:
    """What somebody wants to see of all tubes."""

    q: str = ""
    """Words that server and tube must have in them, in any case."""
    sort: str = "ready"
    descending: bool = True
    page: int = 1
    size: int = 50
    gone: bool = True
    """Whether tubes seen earlier are shown too."""

    def written(self) -> Mapping[str, Any]:
        """As a page would ask for it."""
        sort = f"-{self.sort}" if self.descending else self.sort
        return {"q": self.q, "sort": sort, "page": self.page, "size": self.size, "gone": int(self.gone)}


def parse_query(given: Mapping[str, str]) -> Query:
    """Raises BadQueryError."""
    sort = given.get("sort", "-ready")
    name = sort.removeprefix("-")
    if name not in SORTS:
        raise BadQueryError(f"tubes can't be sorted by {name[:40]!r}; sort is one of {', '.join(SORTS)}")
    search = given.get("q", "")
    if len(search) > MOST_SEARCH:
        raise BadQueryError(f"a search has {MOST_SEARCH} characters at most")
    return Query(
        q=search,
        sort=name,
        descending=sort.startswith("-"),
        page=_whole(given, "page", 1, 10**_MOST_DIGITS),
        size=_whole(given, "size", 50, MOST_SIZE),
        gone=given.get("gone", "1") != "0",
    )


def _whole(given: Mapping[str, str], name: str, default: int, most: int) -> int:
    text = given.get(name, str(default))
    if not (text.isascii() and text.isdigit() and 1 <= int(text[: _MOST_DIGITS + 1]) <= most):
        raise BadQueryError(f"{name} must be a number from 1 to {most}, and isn't: {text[:20]!r}")
    return int(text)


def overview(view: View, query: Query) -> Json:
    """The page that `query` asks for; the last one where there are fewer."""
    found = sorted(_found(view, query), key=_by(view, query))
    pages = max(1, -(-len(found) // query.size))
    page = min(query.page, pages)
    shown = found[(page - 1) * query.size : page * query.size]
    return {
        "now": round(view.now.unix_s, 3),
        "servers": [server_json(view, state) for state in view.snapshot.servers],
        "tubes": [row(view, each) for each in shown],
        "total": len(found),
        "page": page,
        "pages": pages,
        "query": query.written(),
    }


def _found(view: View, query: Query) -> Iterator[TubeNow]:
    words = query.q.lower().split()
    for state in view.snapshot.servers:
        names = state.reading.names if state.reading else ()
        gone = view.seen.gone(MemberName.of(state)) if query.gone else ()
        server = state.server.name.lower()
        for tube in (*names, *gone):
            if not words or _has(f"{server} {tube.lower()}", words):
                yield tube_now(view, state, tube)


def _has(text: str, words: list[str]) -> bool:
    return all(word in text for word in words)


def _by(view: View, query: Query) -> Callable[[TubeNow], tuple[Any, ...]]:
    """What isn't known comes last in either direction, and what is equal by its name."""
    if query.sort in _TEXTS:
        return _by_text(query)
    sign = -1 if query.descending else 1
    number = _number(view, query.sort)

    def key(each: TubeNow) -> tuple[Any, ...]:
        known = number(each)
        return known is None, sign * (known or 0), each.stats is None, each.name, each.state.server.name

    return key


def _by_text(query: Query) -> Callable[[TubeNow], tuple[Any, ...]]:
    turned = _turned if query.descending else str

    def key(each: TubeNow) -> tuple[Any, ...]:
        names = each.name, each.state.server.name
        return tuple(map(turned, names if query.sort == "tube" else names[::-1]))

    return key


def _turned(text: str) -> tuple[int, ...]:
    return (*(-ord(character) for character in text), 1)


def _number(view: View, field: str) -> Callable[[TubeNow], float | None]:
    if field in RATES:
        return lambda each: rate(view, each, field)
    if field == "pauseLeft":
        return pause_left
    return lambda each: count(each, field)
