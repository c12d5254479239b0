"""Write the keys and certificates of a new cluster: pki.py FOLDER ADDRESS, with the node's address.

Two CAs (the cluster's, and the front proxy's of the aggregator), one identity per component, and a kubeconfig for each
client of kube-apiserver. They are valid until the cluster is stopped; only root can read the keys.
"""

import base64
import datetime as dt
import ipaddress
import json
import os
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

APISERVER_NAMES = ("127.0.0.1", "10.96.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc")
CALLERS = {
    "admin": ("kubernetes-admin", ["system:masters"]),
    "kube-controller-manager": ("system:kube-controller-manager", []),
    "kube-scheduler": ("system:kube-scheduler", []),
    "kube-proxy": ("system:kube-proxy", []),
    "kubelet": ("system:node:node0", ["system:nodes"]),
}


@dataclass(frozen=True)
class Identity:
    key: ec.EllipticCurvePrivateKey
    certificate: x509.Certificate

    def save(self, path: Path) -> None:
        path.with_suffix(".crt").write_bytes(self.certificate.public_bytes(Encoding.PEM))
        path.with_suffix(".key").write_bytes(pem(self.key))


def pem(key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def subject(name: str, groups: Iterable[str] = ()) -> x509.Name:
    organizations = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups]
    return x509.Name([*organizations, x509.NameAttribute(NameOID.COMMON_NAME, name)])


def key_usage(*, authority: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        key_cert_sign=authority,
        crl_sign=authority,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def issue(name: x509.Name, issuer: Identity | None, extensions: Iterable[tuple[x509.ExtensionType, bool]]) -> Identity:
    """Return a new key and its certificate, signed by `issuer`, or self-signed. Extensions include their criticality.

    Python 3.13 rejects chains without both key identifiers and the key usage (VERIFY_X509_STRICT).
    """
    key = ec.generate_private_key(ec.SECP256R1())
    signer = issuer.key if issuer else key
    now = dt.datetime.now(dt.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(issuer.certificate.subject if issuer else name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=365))
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    return Identity(key, builder.sign(signer, hashes.SHA256()))


def authority(name: str) -> Identity:
    constraints = x509.BasicConstraints(ca=True, path_length=None)
    return issue(subject(name), None, [(constraints, True), (key_usage(authority=True), True)])


def leaf(name: x509.Name, issuer: Identity, names: Iterable[str] = ()) -> Identity:
    usages = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH])
    extensions: list[tuple[x509.ExtensionType, bool]] = [(usages, False), (key_usage(authority=False), True)]
    if alternatives := [general_name(name) for name in names]:
        extensions.append((x509.SubjectAlternativeName(alternatives), False))
    return issue(name, issuer, extensions)


def kubeconfig(ca: Identity, caller: Identity) -> str:
    """Return a kubeconfig as JSON, which is YAML too, with all certificates inline."""
    certificates = (base64.b64encode(each.certificate.public_bytes(Encoding.PEM)).decode() for each in (ca, caller))
    ca_data, caller_data = certificates
    key_data = base64.b64encode(pem(caller.key)).decode()
    cluster = {"server": "https://127.0.0.1:6443", "certificate-authority-data": ca_data}
    user = {"client-certificate-data": caller_data, "client-key-data": key_data}
    content = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "beanscale", "cluster": cluster}],
        "users": [{"name": "beanscale", "user": user}],
        "contexts": [{"name": "beanscale", "context": {"cluster": "beanscale", "user": "beanscale"}}],
        "current-context": "beanscale",
    }
    return json.dumps(content, indent=1)


def save_service_account_key(folder: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    (folder / "service-account.key").write_bytes(pem(key))
    public = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (folder / "service-account.pub").write_bytes(public)


def main(folder: Path, address: str) -> None:
    os.umask(0o077)
    folder.mkdir(parents=True, exist_ok=True)
    ca, front_proxy_ca = authority("beanscale-cluster-ca"), authority("beanscale-front-proxy-ca")
    ca.save(folder / "ca")
    front_proxy_ca.save(folder / "front-proxy-ca")
    leaf(subject("kube-apiserver"), ca, [*APISERVER_NAMES, address]).save(folder / "apiserver")
    leaf(subject("kube-apiserver-kubelet-client", ["system:masters"]), ca).save(folder / "kubelet-client")
    leaf(subject("front-proxy-client"), front_proxy_ca).save(folder / "front-proxy-client")
    for name, (user, groups) in CALLERS.items():
        names = [address, "node0"] if name == "kubelet" else []
        caller = leaf(subject(user, groups), ca, names)
        caller.save(folder / name)
        (folder / f"{name}.kubeconfig").write_text(kubeconfig(ca, caller))
    save_service_account_key(folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
