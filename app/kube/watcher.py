"""Follow objects of kube-apiserver: list once, then watch, as long as the process lives."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

from app.kube.client import Kubernetes, Query
from app.kube.errors import KubernetesError
from app.ratelimit import backoff

_WATCH_S = 240.0
_FIRST_RETRY_S = 0.5
_MAX_RETRY_S = 30.0
_GONE = 410
"""The watch's version is too old: nothing to report, list again."""

type Json = Mapping[str, Any]


class Watcher[Value](ABC):
    """Publishes the present values of all objects, and again after each change, in a thread.

    After a failure the last ones stay. The objects are listed again with pauses, which grow until a watch lasts.
    """

    def __init__(self, path: str, query: Query | None = None) -> None:
        """`path` is that of the list."""
        self.error: str | None = "not read yet"
        """Why the last attempt failed; None: the values are up to date."""
        self._path = path
        self._query = query or {}

    @abstractmethod
    def parse(self, found: Json) -> Value | None:
        """Return the value of an object; None: it is of no interest. Raises KubernetesError."""

    def limit(self, values: Mapping[str, Value]) -> Mapping[str, Value]:
        """Return those of the values that are kept. The others are seen again with the next list."""
        return values

    @abstractmethod
    def publish(self, values: Mapping[str, Value]) -> None:
        """Take all values by NAMESPACE/NAME; `error` is still that of the attempt before. Raises KubernetesError."""

    @abstractmethod
    def log_failure(self, error: str, traceback: Exception | None) -> None:
        """Log why an attempt failed; called once for each error in a row."""

    def start(self, kubernetes: Kubernetes) -> threading.Thread:
        thread = threading.Thread(target=self._run, args=(kubernetes,), name=type(self).__name__, daemon=True)
        thread.start()
        return thread

    def _run(self, kubernetes: Kubernetes) -> None:
        delays = backoff(_FIRST_RETRY_S, _MAX_RETRY_S)
        while True:
            began_s = time.monotonic()
            try:
                self._list_and_watch(kubernetes)
            except KubernetesError as error:
                if error.status != _GONE:
                    self._fail(str(error))
            except Exception as error:  # noqa: BLE001 - if this thread ended, no change would ever be seen again
                self._fail(f"internal error: {error!r}", error)
            # The pauses go on growing while something ends each watch early: listing costs far more than watching.
            if time.monotonic() - began_s > _MAX_RETRY_S:
                delays = backoff(_FIRST_RETRY_S, _MAX_RETRY_S)
            time.sleep(next(delays))

    def _list_and_watch(self, kubernetes: Kubernetes) -> None:
        """Publish the present values, then each change, until a watch ends early or yields something else."""
        values: Mapping[str, Value] = {}
        version, is_whole = "", True

        def kept(found: Mapping[str, Value]) -> Mapping[str, Value]:
            nonlocal is_whole
            limited = self.limit(found)
            is_whole = is_whole and len(limited) == len(found)
            return limited

        for items, listed_version in kubernetes.pages(self._path, self._query):
            version = listed_version
            parsed = {_key(each): value for each in items if (value := self.parse(each)) is not None}
            values = kept({**values, **parsed})
        self._publish(values)
        ends_s = 0.0
        while ends_s <= time.monotonic():  # kube-apiserver ends no watch earlier, but a proxy in between may
            ends_s = time.monotonic() + _WATCH_S - 1
            query = {**self._query, "resourceVersion": version, "allowWatchBookmarks": "true"}
            for event in kubernetes.watch(self._path, query=query, timeout_s=_WATCH_S):
                kind, found = event.get("type"), event.get("object")
                if kind not in {"ADDED", "MODIFIED", "DELETED", "BOOKMARK"} or not isinstance(found, dict):
                    return
                version = str((found.get("metadata") or {}).get("resourceVersion") or version)
                if kind == "BOOKMARK":
                    continue
                value = None if kind == "DELETED" else self.parse(found)
                if value is not None:
                    values = kept({**values, _key(found): value})
                elif _key(found) in values:
                    values = {key: each for key, each in values.items() if key != _key(found)}
                else:
                    continue
                self._publish(values)
            if not is_whole:  # there may be room now for what was dropped
                return

    def _publish(self, values: Mapping[str, Value]) -> None:
        self.publish(values)
        self.error = None

    def _fail(self, message: str, traceback: Exception | None = None) -> None:
        if message != self.error:  # it is retried forever, and logged once
            self.log_failure(message, traceback)
        self.error = message


def _key(found: Json) -> str:
    metadata = found.get("metadata") or {}
    return f"{metadata.get('namespace', '')}/{metadata.get('name', '')}"
