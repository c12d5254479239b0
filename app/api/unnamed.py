"""Tells in the log of tubes that no autoscaler can ask for, each once and with what to do.

The first few by name, then one line with the number of those found beside them, and never another: so nobody's tubes
fill the log.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from typing import NoReturn

import structlog

from app.metrics.rule import Rules
from app.tubes.snapshot import Snapshot

LOOK_EVERY_S = 5.0
MOST_TOLD = 10

_log = structlog.get_logger()


class UnnamedTubes:
    """Looks at names that weren't there before, and at no others."""

    def __init__(self, snapshot: Callable[[], Snapshot], rules: Rules) -> None:
        self._snapshot = snapshot
        self._rules = rules
        self._told: set[str] = set()
        self._names: Mapping[tuple[str, str | None], tuple[str, ...]] = {}
        self._is_done = False

    async def keep(self) -> NoReturn:
        """For ever."""
        while True:
            await asyncio.to_thread(self.look)  # at ten thousand new names and a thousand rules it takes seconds
            await asyncio.sleep(LOOK_EVERY_S)

    def look(self) -> None:
        """Tell of what is new."""
        if self._is_done:
            return
        found = dict(self._found())
        tubes = sorted(found.keys() - self._told)
        room = MOST_TOLD - len(self._told)
        for tube in tubes[:room]:
            _log.info(
                "no autoscaler can ask for a tube of this name",
                tube=tube,
                server=found[tube],
                fix=f"name it in metrics: {{name: …, tubes: [{tube}], value: ready + reserved}}",
            )
        if len(tubes) > room:
            _log.info(
                "no autoscaler can ask for more tubes, nor for any other with a '/' in its name",
                tubes=len(tubes) - room,
                fix="name them in metrics:, many at once by a pattern",
            )
            self._is_done = True
        self._told.update(tubes[:room])

    def _found(self) -> Iterator[tuple[str, str]]:
        """Tubes and their servers."""
        before, states = self._names, self._snapshot().servers
        self._names = {(state.server.name, state.member): state.reading.names for state in states if state.reading}
        for (server, member), names in self._names.items():
            known = before.get((server, member), ())
            new = set(names).difference(known) if names is not known else ()
            yield from ((tube, server) for tube in new if not self._rules.can_name(server, tube))
