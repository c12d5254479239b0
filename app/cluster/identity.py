"""The certificate that the server presents at this moment, kept valid for as long as it runs."""

import asyncio
import os
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from app import clock
from app.clock import Instant
from app.cluster import api_service, serving_secret
from app.cluster.certificates import ServingCertificate
from app.cluster.client import Kubernetes, KubernetesError
from app.cluster.renewal import KeyRing, step
from app.settings import ObjectName

CHECK_S = 60.0
"""An emptied Secret or caBundle heals, and another replica's renewal arrives, within this time."""
RETRY_S = 5.0

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Registration:
    """Where replicas share their certificate, and who must trust it."""

    kubernetes: Kubernetes
    secret: ObjectName
    api_service: str
    service: ObjectName
    """The Service in front of us, to which the APIService must point."""


class Identity:
    """In memory without a registration: each process its own CA, and nobody is told."""

    def __init__(self, names: Sequence[str], registration: Registration | None = None) -> None:
        self.last_error: KubernetesError | None = None
        """Why the last check failed, and the certificate in hand stays; None: Secret and APIService are right."""
        self._names = tuple(names)
        self._registration = registration
        self._ring: KeyRing | None = None

    @property
    def certificate(self) -> ServingCertificate | None:
        """What is served; None before `obtain`."""
        return self._ring.serving if self._ring else None

    @property
    def bundle(self) -> bytes:
        """The CAs to verify us by, as PEM; empty before `obtain`."""
        return self._ring.bundle if self._ring else b""

    async def obtain(self, now: Instant) -> ServingCertificate:
        """The first certificate. Raises KubernetesError when the Secret can't be read or written.

        An APIService that can't be patched (not there yet, somebody else's) is `last_error`; `keep` tries it again.
        """
        ring = await asyncio.to_thread(self._settle, now)
        await self._publish(ring)
        self._ring = ring
        return ring.serving

    async def keep(self, on_change: Callable[[ServingCertificate], None]) -> None:
        """Check for ever; call back, in the event loop, with each new certificate."""
        while True:
            await asyncio.sleep(RETRY_S if self.last_error else CHECK_S)
            await self.check(on_change, clock.now())

    async def check(self, on_change: Callable[[ServingCertificate], None], now: Instant) -> None:
        """Secret, then APIService, then what we serve: nobody may meet a certificate before they trust its CA."""
        try:
            ring = await asyncio.to_thread(self._settle, now)
        except KubernetesError as error:
            self._failed(error)
            return
        served = self.certificate
        if not await self._publish(ring) and served and _utc(now) < served.expires_at:
            return
        self._ring = ring
        if ring.serving != served:
            _log.info("serving certificate changed", expires_at=ring.serving.expires_at.isoformat())
            on_change(ring.serving)

    def _settle(self, now: Instant) -> KeyRing:
        def due(ring: KeyRing | None) -> KeyRing:
            return step(ring, self._names, _utc(now))

        if self._registration is None:
            return due(self._ring)
        return serving_secret.settle(self._registration.kubernetes, self._registration.secret, due, self._ring)

    async def _publish(self, ring: KeyRing) -> bool:
        to = self._registration
        if to is not None:
            try:
                await asyncio.to_thread(api_service.publish, to.kubernetes, to.api_service, to.service, ring.bundle)
            except KubernetesError as error:
                self._failed(error)
                return False
        self.last_error = None
        return True

    def _failed(self, error: KubernetesError) -> None:
        if str(error) != str(self.last_error):  # a lasting fault is one line, not one every five seconds
            _log.warning("serving certificate not checked", error=str(error))
        self.last_error = error


def service_names(service: ObjectName, cluster_domain: str) -> tuple[str, ...]:
    """All names of a Service; kube-apiserver verifies `NAME.NAMESPACE.svc`."""
    name, namespace = service.name, service.namespace
    return (f"{name}.{namespace}.svc", f"{name}.{namespace}.svc.{cluster_domain}", f"{name}.{namespace}", name)


def load_into(context: ssl.SSLContext, certificate: ServingCertificate) -> None:
    """Serve this certificate from the next handshake on; its key touches no disk, the root may be read-only."""
    # `ssl` reads certificates from files only: an anonymous one in memory, gone when closed.
    descriptor = os.memfd_create("serving-certificate")
    with os.fdopen(descriptor, "wb") as file:
        file.write(certificate.pem + certificate.key_pem)
        file.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")


def _utc(now: Instant) -> datetime:
    return datetime.fromtimestamp(now.unix_s, UTC)
