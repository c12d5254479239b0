"""The certificate that the server presents now, kept valid for as long as the process runs."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

import structlog
from cryptography import x509

from app import clock
from app.clock import Instant
from app.http.tls import load_pem
from app.kube.certificates import api_service, ca_config_map
from app.kube.certificates.authority import CertificateError, ServingCertificate, read_bundle
from app.kube.certificates.renewal import LIFETIMES, KeyRing, Lifetimes, next_key_ring
from app.kube.certificates.secret import ProvidedCertificate, Reconciled, read_provided_secret, reconcile
from app.kube.client import Kubernetes
from app.kube.errors import KubernetesError
from app.settings import ObjectName
from app.text import duration

RETRY_S = 5.0
MAX_CLOCK_DIFFERENCE_S = 60.0
"""A larger difference between the clocks causes a warning."""
_REPAIR_SHOWN_S = 600.0
"""How long /readyz shows a repair."""
CHANGES = ("made", "renewed", "authority-renewed", "authority-retired")
"""What happens to a certificate in the normal course of time."""
REPAIRS: Mapping[str, str] = {
    "secret-recreated": "the Secret was missing and was recreated",
    "restored": "the certificate in the Secret was missing or invalid and was restored",
    "remade": "the certificate in the Secret was invalid and was recreated",
    "bundle-published": "the CA was missing in the APIService and was published",
}
"""Other changes, with what /readyz shows."""

_log = structlog.get_logger()

Present = Callable[[ServingCertificate], None]
"""Serves a certificate from now on. Raises CertificateError, and then goes on to serve the previous one."""


@dataclass(frozen=True, slots=True)
class CertificateTargets:
    """Where the certificate is kept, and the APIService whose clients must trust it."""

    kubernetes: Kubernetes
    secret: ObjectName
    api_service: str
    service: ObjectName
    """The server's Service, to which the APIService must point."""
    config_map: ObjectName | None = None
    """Where the CA is published for other clients."""
    provided: bool = False
    """Another program, such as cert-manager, writes the Secret; otherwise beanscale's replicas share it."""


@dataclass(frozen=True, slots=True)
class CertificateState:
    """What the checks so far have found and done."""

    served: KeyRing | ProvidedCertificate | None = None
    found: KeyRing | ProvidedCertificate | None = None
    """In the Secret at the last check, served already or not."""
    secret: Reconciled | None = None
    """What is restored if the Secret is deleted; None if beanscale doesn't write it."""
    cas: "_KnownCAs | None" = None
    error: KubernetesError | CertificateError | None = None
    """Why the last check failed; None if Secret and APIService are as they should be."""
    changes: Mapping[str, int] = field(default_factory=dict)
    """How often each of CHANGES and REPAIRS happened."""
    repair: str = ""
    repaired_at: Instant | None = None
    clock_is_off: bool = False


@dataclass(frozen=True, slots=True)
class _KnownCAs:
    bundle: bytes
    others: frozenset[x509.Certificate]
    """In the APIService besides those of `bundle`."""
    since: datetime
    """When one of both last changed."""


class CertificateController:
    """Keeps a valid certificate in memory, and with `targets` also in the Secret and its CA in the APIService.

    With targets, kube-apiserver's clock is used, because kube-apiserver checks the certificate's dates: this node's
    clock may be days off.
    """

    def __init__(
        self, names: Sequence[str], targets: CertificateTargets | None = None, lifetimes: Lifetimes = LIFETIMES
    ) -> None:
        self.state = CertificateState()
        """Immutable, replaced as a whole by each check."""
        self._names = tuple(names)
        self._targets = targets
        self._lifetimes = lifetimes
        self._stopped = False

    @property
    def certificate(self) -> ServingCertificate | None:
        """The served certificate; None before the first successful `check`."""
        return self.state.served.serving if self.state.served else None

    @property
    def bundle(self) -> bytes:
        """The CAs that verify the served certificate, as PEM; empty before there is one."""
        return self.state.served.bundle if self.state.served else b""

    @property
    def clock_ahead_s(self) -> float:
        """How far this node's clock is ahead of kube-apiserver's."""
        return self._targets.kubernetes.clock_ahead_s if self._targets else 0.0

    def failure(self, now: Instant) -> str | None:
        """Return why no client can verify the server, or None."""
        state = self.state
        if state.served is None:
            return str(state.error or "the serving certificate is being created")
        if state.served.serving.is_valid_at(self._time(now)):
            return None
        why = f": {state.error}" if state.error else ""
        return f"the serving certificate is not valid now (expires {state.served.serving.expires_at.isoformat()}){why}"

    def warning(self, now: Instant) -> str | None:
        """Return a problem or repair that doesn't affect clients (yet), or None."""
        state = self.state
        if state.error is not None:
            return str(state.error)
        if abs(self.clock_ahead_s) > MAX_CLOCK_DIFFERENCE_S:
            return _clock_problem(self.clock_ahead_s)
        if state.repaired_at is not None and state.repaired_at.age_s(now) < _REPAIR_SHOWN_S:
            return f"{state.repair} {duration(state.repaired_at.age_s(now))} ago"
        return None

    async def run(self, present: Present) -> None:
        """Check forever; call `present`, in the event loop, with each new certificate."""
        while True:
            await self.check(present, clock.now())
            await asyncio.sleep(RETRY_S if self.state.error else self._lifetimes.check.total_seconds())

    async def check(self, present: Present, now: Instant) -> None:
        """Reconcile the Secret, then the APIService, then the served certificate.

        The order ensures that clients trust a CA before they see a certificate from it.
        """
        if self._stopped:
            return
        before = self.state
        state, is_trusted = await asyncio.to_thread(self._reconcile, before, now)
        served = before.served
        # An untrusted certificate is better than none, or than one that is not valid.
        is_due = is_trusted or served is None or not served.serving.is_valid_at(self._time(now))
        if state.found is not None and is_due:
            try:
                if served is None or state.found.serving != served.serving:
                    present(state.found.serving)
                    _log.info("serving certificate changed", expires_at=state.found.serving.expires_at.isoformat())
                state = replace(state, served=state.found)
            except CertificateError as error:
                where = f"Secret {self._targets.secret}: " if self._targets else ""
                state = replace(state, error=CertificateError(f"{where}{error}"))
        if state.clock_is_off and not before.clock_is_off:
            _log.warning(_clock_problem(self.clock_ahead_s))
        if state.error is None and before.error is not None:
            _log.info("serving certificate check succeeded again")
        elif state.error is not None and str(state.error) != str(before.error):  # a lasting fault is one line
            _log.warning("serving certificate check failed", error=str(state.error))
        self.state = state

    def stop(self) -> None:
        """Write nothing from now on: what is uninstalled together with the server must not come back."""
        self._stopped = True

    def _reconcile(self, before: CertificateState, now: Instant) -> tuple[CertificateState, bool]:
        """Reconcile Secret and APIService; blocking. Return the new state, and whether clients trust what was found."""
        targets, changes, secret = self._targets, list[str](), before.secret
        found: KeyRing | ProvidedCertificate
        try:
            if targets is None:
                ring = before.found if isinstance(before.found, KeyRing) else None
                found = next_key_ring(ring, self._names, self._time(now), self._lifetimes)
            elif targets.provided:
                found = read_provided_secret(targets.kubernetes, targets.secret, self._names[0], now)
            else:
                secret = reconcile(targets.kubernetes, targets.secret, self._names, self._lifetimes, now, before=secret)
                found = secret.ring
                changes += secret.changes
        except (KubernetesError, CertificateError) as error:
            return replace(before, error=error), False
        state = replace(before, found=found, secret=secret, error=None)
        # Every kube-apiserver sees a newly published CA before the next check, so serve its certificate then.
        is_trusted = found.bundle == (before.found.bundle if before.found else b"")
        if targets is not None and found.bundle:
            try:
                cas, is_change = self._publish(targets, before.cas, found.bundle, now)
                state = replace(state, cas=cas)
                if is_change:
                    changes.append("bundle-published")
                    is_trusted = False
            except KubernetesError as error:
                state = replace(state, error=error)
                # No APIService points here, so no client must trust the CA first; or the bundle is unchanged.
                is_trusted = error.reason in {"NotFound", "NotOurs"} or found.bundle == self.bundle
        if targets is not None and targets.config_map is not None:
            try:
                ca_config_map.publish(targets.kubernetes, targets.config_map, found.bundle)
            except KubernetesError as error:
                state = replace(state, error=state.error or error)
        repairs = [REPAIRS[change] for change in changes if change in REPAIRS]
        if repairs:
            state = replace(state, repair=", ".join(repairs), repaired_at=now)
        counts = Counter(before.changes) + Counter(changes)
        is_off = abs(self.clock_ahead_s) > MAX_CLOCK_DIFFERENCE_S
        return replace(state, changes=counts, clock_is_off=is_off), is_trusted

    def _publish(
        self, targets: CertificateTargets, known: _KnownCAs | None, bundle: bytes, now: Instant
    ) -> tuple[_KnownCAs, bool]:
        """Make the APIService trust `bundle`. Return the CAs known now, and whether that was a change."""
        published = api_service.read(targets.kubernetes, targets.api_service, targets.service)
        wanted = read_bundle(bundle)
        others = [each for each in published.authorities if each not in wanted]
        # Another replica may need other CAs: one that has read an older Secret, or runs with other settings. They are
        # kept until all has been the same for so long that every replica must have found what this one found.
        utc = self._time(now)
        if known is None or (known.bundle, known.others) != (bundle, frozenset(others)):
            known = _KnownCAs(bundle, frozenset(others), utc)
        if utc - known.since < self._lifetimes.published:
            wanted = (*wanted, *others)
        if set(published.authorities) == set(wanted) and published.is_verified:
            return known, False
        api_service.publish(targets.kubernetes, targets.api_service, targets.service, wanted)
        return known, True

    def _time(self, now: Instant) -> datetime:
        if self._targets is None:
            return datetime.fromtimestamp(now.unix_s, UTC)
        return self._targets.kubernetes.server_time(now)


def service_names(service: ObjectName, cluster_domain: str) -> tuple[str, ...]:
    """Return all DNS names of a Service; kube-apiserver verifies the first."""
    name, namespace = service.name, service.namespace
    return (f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.{cluster_domain}", f"{name}.{namespace}", name)


def load_into(context: ssl.SSLContext, certificate: ServingCertificate) -> None:
    """Make a new context serve this certificate, without writing its key to a disk. Raise CertificateError."""
    try:
        load_pem(context, certificate.pem, certificate.key_pem)
    except ssl.SSLError as error:
        raise CertificateError(f"the serving certificate can't be loaded: {error.reason or error}") from error


def _clock_problem(ahead_s: float) -> str:
    direction = "ahead of" if ahead_s > 0 else "behind"
    return (
        f"the node clock is {duration(abs(ahead_s))} {direction} kube-apiserver's: fix it, because client certificates"
        " and timestamps use it (serving certificates use kube-apiserver's clock)"
    )
