"""How long a client may take for each thing.

The deadlines are looked at once a second for all connections together (connections.py): a timer for each request would
cost more than all the rest of its bookkeeping.
"""

from collections.abc import Mapping
from enum import Enum


class Phase(Enum):
    """What a connection is at."""

    HANDSHAKE = "handshake"
    IDLE = "idle"
    """No byte of the next request is here."""
    HEAD = "head"
    ANSWER = "answer"
    """A request is under way."""
    BODY = "body"
    """The answer is given, and the request's body is still coming."""


PATIENCE_S: Mapping[Phase, float] = {
    Phase.HANDSHAKE: 10,
    # Longer than the aggregator keeps an idle connection (90 s), so that it never meets one that we just closed.
    Phase.IDLE: 120,
    Phase.HEAD: 10,
    Phase.ANSWER: 60,
    Phase.BODY: 10,
}
"""How long each may last; an answer: how long its reader may take nothing of it."""
FRESH_S = 1.0
"""So soon after it came a client is about to ask, and a head that has begun is about to be whole."""
GOODBYE_S = 5.0
"""How long the peer may take to let a closed connection go."""


class Patience:
    """With one client. Moments are seconds on one clock, that of all connections."""

    __slots__ = ("phase", "since", "untaken_since")

    def __init__(self, now: float) -> None:
        self.phase = Phase.HANDSHAKE
        self.since = now
        """When this phase began."""
        self.untaken_since: float | None = None
        """When its reader ceased to take the answer. A stream may go on for days, and they be slow now and then."""

    def begin(self, phase: Phase, now: float) -> None:
        """The client is at something else."""
        self.phase, self.since = phase, now

    def is_young(self, now: float) -> bool:
        """Whether the phase has only just begun."""
        return now - self.since < FRESH_S

    def is_over(self, now: float) -> bool:
        """Whether the client has taken too long. Our own time for an answer isn't theirs."""
        since = self.untaken_since if self.phase is Phase.ANSWER else self.since
        return since is not None and now - since > PATIENCE_S[self.phase]

    def is_over_after_goodbye(self, now: float) -> bool:
        """The same of one whose connection we have closed: it may go on with what it was at, and a little longer."""
        return now - self.since > PATIENCE_S[self.phase] + GOODBYE_S
