"""The certificate that the server presents at this moment, kept valid for as long as it runs."""

import asyncio
import os
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

import structlog

from app import clock
from app.clock import Instant
from app.kube.certificates import api_service
from app.kube.certificates.api_service import Others
from app.kube.certificates.authority import CertificateError, ServingCertificate
from app.kube.certificates.renewal import LIFETIMES, KeyRing, Lifetimes, next_key_ring
from app.kube.certificates.secret import ProvidedCertificate, Reconciled, read_given, reconcile
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName

RETRY_S = 5.0
CLOCK_TOLERANCE_S = 60.0
"""Clocks that differ by more are told of."""
_NEWS_S = 600.0
"""How long a change is told where people look."""
CHANGES = ("made", "renewed", "authority-renewed", "authority-retired")
"""What becomes of a certificate in the course of time."""
REPAIRS: Mapping[str, str] = {
    "secret-recreated": "the Secret was gone and was made anew",
    "restored": "the certificate in the Secret was gone or spoilt and was put back",
    "remade": "the certificate in the Secret couldn't be used and was made anew",
    "bundle-published": "the CA wasn't in the APIService and was put there",
}
"""What else we do to what is kept, and how people are told."""

_log = structlog.get_logger()

OnChange = Callable[[ServingCertificate], None]
"""Serves it from now on. Raises CertificateError, and then serves what it did."""


@dataclass(frozen=True, slots=True)
class CertificateTargets:
    """Where the certificate is kept, and who must trust it."""

    kubernetes: Kubernetes
    secret: ObjectName
    api_service: str
    service: ObjectName
    """The Service in front of us, to which the APIService must point."""
    provided: bool = False
    """Somebody else fills the Secret; else replicas share there what they make."""


class CertificateController:
    """In memory without a registration: each process its own CA, and nobody is told.

    With one, kube-apiserver's clock counts, because it judges the certificate's dates: ours may be days off.
    """

    def __init__(
        self, names: Sequence[str], registration: CertificateTargets | None = None, lives: Lifetimes = LIFETIMES
    ) -> None:
        self.error: KubernetesError | CertificateError | None = None
        """Why the last check failed, and the certificate in hand stays; None: Secret and APIService are right."""
        self.changes: Counter[str] = Counter()
        """What was made, renewed, put back and so on, and how often."""
        self._names = tuple(names)
        self._registration = registration
        self._lives = lives
        self._held: KeyRing | ProvidedCertificate | None = None
        self._settled: Reconciled | None = None
        self._bundle = b""
        """The one that was found last, served yet or not."""
        self._steady: tuple[bytes, Others, datetime] | None = None
        """The bundle and the other CAs in the APIService, and since when they are these."""
        self._news: tuple[str, Instant] | None = None
        self._clock_is_off = False
        self._retired = False

    @property
    def certificate(self) -> ServingCertificate | None:
        """What is served; None before the first `check` that went well."""
        return self._held.serving if self._held else None

    @property
    def made_at(self) -> datetime | None:
        """When the life of what is served began: ours hold from an hour earlier; None before there is a certificate."""
        return self._held.serving_made_at if self._held else None

    @property
    def authority_expires_at(self) -> datetime | None:
        """When the CA behind it ends; None where that isn't known."""
        return self._held.authority_expires_at if self._held else None

    @property
    def bundle(self) -> bytes:
        """The CAs to verify us by, as PEM; empty before there is a certificate."""
        return self._held.bundle if self._held else b""

    @property
    def clock_ahead_s(self) -> float:
        """Our wall clock before kube-apiserver's."""
        return self._registration.kubernetes.clock_ahead_s if self._registration else 0.0

    def failure(self, now: Instant) -> str | None:
        """Why nobody can verify us, in one sentence."""
        if self._held is None:
            return str(self.error or "the serving certificate is being made")
        if self._held.serving.is_valid_at(self._utc(now)):
            return None
        why = f": {self.error}" if self.error else ""
        return (
            f"the serving certificate, which ends at {self._held.serving.expires_at.isoformat()}, doesn't hold now{why}"
        )

    def warning(self, now: Instant) -> str | None:
        """What else people should know, although all works."""
        if self.error is not None:
            return str(self.error)
        if abs(self.clock_ahead_s) > CLOCK_TOLERANCE_S:
            return _clock_problem(self.clock_ahead_s)
        if self._news and self._news[1].age_s(now) < _NEWS_S:
            return f"{self._news[0]} {self._news[1].age_s(now):.0f} s ago"
        return None

    async def run(self, on_change: OnChange) -> None:
        """Check for ever; call back, in the event loop, with each new certificate."""
        while True:
            await self.check(on_change, clock.now())
            await asyncio.sleep(RETRY_S if self.error else self._lives.check.total_seconds())

    async def check(self, on_change: OnChange, now: Instant) -> None:
        """Secret, then APIService, then what we serve: nobody may meet a certificate before they trust its CA."""
        if self._retired:
            return
        trouble: KubernetesError | CertificateError | None = None
        try:
            found = await asyncio.to_thread(self._find, now)
        except (KubernetesError, CertificateError) as error:
            self._tell(error)
            return
        is_new, self._bundle = found.bundle != self._bundle, found.bundle
        try:
            is_trusted = not await asyncio.to_thread(self._publish, found, now) and not is_new
        except KubernetesError as error:
            trouble = error
            # Whom nobody is sent to, nobody has to trust first; and who is trusted already stays so.
            is_trusted = error.reason in {"NotFound", "NotOurs"} or found.bundle == self.bundle
        served = self.certificate
        # A CA that came just now, by us or by another replica, reaches every kube-apiserver until the next check.
        if is_trusted or served is None or not served.is_valid_at(self._utc(now)):
            try:
                self._serve(found, on_change)
            except CertificateError as error:
                kept_in = f"Secret {self._registration.secret}: " if self._registration else ""
                trouble = CertificateError(f"{kept_in}{error}")
        self._compare_clocks()
        self._tell(trouble)

    def _serve(self, found: KeyRing | ProvidedCertificate, on_change: OnChange) -> None:
        """Raises CertificateError."""
        if found.serving != self.certificate:
            on_change(found.serving)
            _log.info("serving certificate changed", expires_at=found.serving.expires_at.isoformat())
        self._held = found

    def retire(self) -> None:
        """Write nothing any more: what is uninstalled together with us must not come back."""
        self._retired = True

    def _find(self, now: Instant) -> KeyRing | ProvidedCertificate:
        """What is to be served. Raises KubernetesError, CertificateError."""
        to = self._registration
        if to is not None and to.provided:
            return read_given(to.kubernetes, to.secret, self._names[0], partial(self._utc, now))
        if to is None:
            return self._due(now, self._held if isinstance(self._held, KeyRing) else None)
        self._settled = reconcile(to.kubernetes, to.secret, partial(self._due, now), self._settled)
        self._happened(now, self._settled.changes)
        return self._settled.ring

    def _due(self, now: Instant, ring: KeyRing | None) -> KeyRing:
        return next_key_ring(ring, self._names, self._utc(now), self._lives)

    def _publish(self, found: KeyRing | ProvidedCertificate, now: Instant) -> bool:
        """Have the CAs trusted; tells whether that was a change. Raises KubernetesError."""
        to = self._registration
        if to is None or not found.bundle:
            return False
        are_needed = partial(self._are_needed, found.bundle, self._utc(now))
        is_change = api_service.publish(to.kubernetes, to.api_service, to.service, found.bundle, are_needed)
        if is_change:
            self._happened(now, ("bundle-published",))
        return is_change

    def _are_needed(self, bundle: bytes, now: datetime, others: Others) -> bool:
        """Other CAs are until all has been the same for so long that every replica must have found what we found."""
        if self._steady is None or self._steady[:2] != (bundle, others):
            self._steady = bundle, others, now
        return now - self._steady[2] < self._lives.published

    def _happened(self, now: Instant, changes: Sequence[str]) -> None:
        self.changes.update(changes)
        if repairs := [REPAIRS[change] for change in changes if change in REPAIRS]:
            self._news = ", ".join(repairs), now

    def _compare_clocks(self) -> None:
        is_off = abs(self.clock_ahead_s) > CLOCK_TOLERANCE_S
        if is_off and not self._clock_is_off:
            _log.warning(_clock_problem(self.clock_ahead_s))
        self._clock_is_off = is_off

    def _tell(self, trouble: KubernetesError | CertificateError | None) -> None:
        if trouble is None and self.error is not None:
            _log.info("serving certificate in order again")
        elif trouble is not None and str(trouble) != str(self.error):  # a lasting fault is one line
            _log.warning("serving certificate not checked", error=str(trouble))
        self.error = trouble

    def _utc(self, now: Instant) -> datetime:
        return datetime.fromtimestamp(now.unix_s, UTC) - timedelta(seconds=self.clock_ahead_s)


def service_names(service: ObjectName, cluster_domain: str) -> tuple[str, ...]:
    """All names of a Service; the first is the one by which kube-apiserver verifies it."""
    name, namespace = service.name, service.namespace
    return (f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.{cluster_domain}", f"{name}.{namespace}", name)


def load_into(context: ssl.SSLContext, certificate: ServingCertificate) -> None:
    """Have a new context serve this; its key touches no disk, the root may be read-only. Raises CertificateError."""
    # `ssl` reads certificates from files only: an anonymous one in memory, gone when closed.
    descriptor = os.memfd_create("serving-certificate")
    with os.fdopen(descriptor, "wb") as file:
        file.write(certificate.pem + b"\n" + certificate.key_pem)
        file.flush()
        try:
            context.load_cert_chain(f"/proc/self/fd/{descriptor}")
        except ssl.SSLError as error:
            raise CertificateError(f"the serving certificate can't be loaded: {error.reason or error}") from error


def _clock_problem(ahead_s: float) -> str:
    direction = "ahead of" if ahead_s > 0 else "behind"
    return (
        f"this node's clock is {abs(ahead_s):.0f} s {direction} kube-apiserver's, whose counts for certificates;"
        " set it right: clients' certificates and readings' times go by the node's"
    )
