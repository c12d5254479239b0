"""Tubes that were there and are no more: beanstalkd forgets an empty tube that nobody uses, people don't. No I/O."""

from collections.abc import Mapping

from app.console.history import MemberName
from app.tubes.snapshot import Snapshot

MOST_GONE = 10_000
"""Of one server; beyond them the one that went first is forgotten."""

_NOBODY: Mapping[str, float] = {}


class SeenTubes:
    """Told of each sample."""

    def __init__(self, most: int = MOST_GONE) -> None:
        self._most = most
        self._names: dict[MemberName, tuple[str, ...]] = {}
        self._gone: dict[MemberName, dict[str, float]] = {}

    def sample(self, snapshot: Snapshot) -> None:
        """Take the tubes that are there now."""
        for state in snapshot.servers:
            member, reading = MemberName.of(state), state.reading
            if reading is None or self._names.get(member) is reading.names:
                continue
            gone = self._gone.setdefault(member, {})
            there = set(reading.names)
            for name in self._names.get(member, ()):
                if name not in there:
                    gone[name] = reading.listed_at.unix_s
            for name in there & gone.keys():
                del gone[name]
            while len(gone) > self._most:
                del gone[next(iter(gone))]
            self._names[member] = reading.names

    def gone(self, member: MemberName) -> Mapping[str, float]:
        """Tube → when it was first found gone, unix seconds."""
        return self._gone.get(member, _NOBODY)
