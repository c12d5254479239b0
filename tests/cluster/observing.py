"""What is noted while something happens: an object's changes, and requests that must all be answered."""

import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import greenstalk
import httpx

from tests.cluster.commands import eventually
from tests.cluster.release import Release


class Timeline:
    """What a jsonpath says of the objects that are watched, change by change."""

    def __init__(self, release: Release, *what: str, path: str) -> None:
        command = ["kubectl", "--namespace", release.namespace, "get", *what, "--watch", "--output"]
        self._command = [*command, f'jsonpath={path}{{"\\n"}}']
        self.seen: list[tuple[float, str]] = []
        """When (monotonic seconds) and what; nothing twice in a row."""

    def __enter__(self) -> Self:
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        try:
            eventually(lambda: self.seen, f"a first line of {' '.join(self._command)}")
        except AssertionError:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_reason: object) -> None:
        self._process.terminate()
        self._process.wait(60)
        self._reader.join(60)

    def _read(self) -> None:
        assert self._process.stdout
        with self._process.stdout as lines:
            for line in map(str.strip, lines):
                if not self.seen or self.seen[-1][1] != line:
                    self.seen.append((time.monotonic(), line))

    def said(self) -> list[str]:
        return [text for _, text in self.seen]

    def wait_for(self, text: str) -> None:
        """Until the last change is this one: others may know of a change before it has come here."""
        what = f"{text!r} as the last line of {' '.join(self._command)}"
        eventually(lambda: self.said()[-1] == text, what, within_s=120)


@dataclass
class Answers:
    """How requests went."""

    good: int = 0
    failures: list[str] = field(default_factory=list)

    def note(self, answer: httpx.Response) -> None:
        if answer.status_code == 200:
            self.good += 1
        else:
            self.failures.append(f"{answer.status_code} {answer.text[:300]}")


@contextmanager
def constant_requests(pki: Path, path: str) -> Iterator[Answers]:
    """Ask kube-apiserver, about 30 times a second over 3 connections, for as long as the context lasts."""
    answers, over = Answers(), threading.Event()
    askers = [threading.Thread(target=_ask, args=(pki, path, answers, over)) for _ in range(3)]
    for asker in askers:
        asker.start()
    try:
        eventually(lambda: answers.good > 30 or answers.failures, "30 requests answered")
        yield answers
    finally:
        over.set()
        for asker in askers:
            asker.join(60)


def _ask(pki: Path, path: str, answers: Answers, over: threading.Event) -> None:
    tls = ssl.create_default_context(cafile=pki / "ca.crt")
    tls.load_cert_chain(pki / "admin.crt", pki / "admin.key")
    with httpx.Client(base_url="https://127.0.0.1:6443", verify=tls, timeout=30, trust_env=False) as client:
        while not over.wait(0.1):
            try:
                answers.note(client.get(path))
            except httpx.TransportError as error:
                answers.failures.append(repr(error))


def handed_out(client: greenstalk.Client[bytes], jobs: list[int], within_s: float) -> dict[int, int]:
    """How often each job was reserved, looked at until the last one is done: once, unless a worker lost it.

    One that was reserved and done between two samples was reserved once: only workers delete jobs.
    """
    reserves = dict.fromkeys(jobs, 0)
    waiting = set(jobs)

    def all_done() -> bool:
        for job in tuple(waiting):
            try:
                reserves[job] = int(client.stats_job(job)["reserves"])
            except greenstalk.NotFoundError:
                waiting.remove(job)
                reserves[job] = max(reserves[job], 1)
        return not waiting

    eventually(all_done, "all jobs done", within_s)
    return reserves
