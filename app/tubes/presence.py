"""Our own connections, by the beanstalkd that they lead to: what it counts of them isn't a worker's."""

from app.settings import Server


class Presence:
    """Of one process; told of a connection once its first answer has come: from then on beanstalkd counts it."""

    def __init__(self) -> None:
        self._there: dict[str, list[tuple[str, object]]] = {}

    def enter(self, server_id: str, server: Server, who: object) -> None:
        """A connection for the configured `server` leads to the beanstalkd of this id."""
        self._there.setdefault(server_id, []).append((server.name, who))

    def leave(self, server_id: str, server: Server, who: object) -> None:
        """It has ended."""
        self._there[server_id].remove((server.name, who))
        if not self._there[server_id]:
            del self._there[server_id]

    def number(self, server_id: str) -> int:
        """How many are there."""
        return len(self._there.get(server_id, ()))

    def leads(self, server_id: str, server: Server, who: object) -> bool:
        """Whether it is the first there of the same configured server: two addresses of one beanstalkd count once."""
        return next(there for there in self._there[server_id] if there[0] == server.name)[1] is who
