"""Parsers of what people write in options and files: addresses, durations, names. Each error is one sentence."""

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from difflib import get_close_matches

BEANSTALKD_PORT = 11300
HTTPS_PORT = 443

_LABEL_VALUE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_HOST_LABEL = "[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,254}}$){_HOST_LABEL}(\.{_HOST_LABEL})*\.?")
_DNS_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DNS_SUBDOMAIN = re.compile(rf"(?=.{{1,253}}$){_DNS_LABEL.pattern}(\.{_DNS_LABEL.pattern})*")
_DURATION_PART = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h)")
_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_PATH_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)+")
_WORD_PART = re.compile(r"[a-z0-9]+")
_LONGEST_WORD = 100  # of those that are compared with known ones: it takes the product of their lengths
_MAPPED = ipaddress.IPv6Network("::ffff:0:0/96")
_UNIT_S = {"ms": Decimal("0.001"), "s": Decimal(1), "m": Decimal(60), "h": Decimal(3600)}


type Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class SettingError(ValueError):
    """An option or a file can't be used; `str()` is a sentence for the person who wrote it."""


class InvalidFileError(SettingError):
    """All errors of a file; `str()` has a line for each."""

    def __init__(self, errors: Iterable[str]) -> None:
        self.errors = tuple(errors)
        """One sentence each, at least one."""
        super().__init__("\n".join(self.errors))


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return a question with the known words that a misspelled one contains or resembles; empty if there are none."""
    by_lower = {name.lower(): name for name in known}
    wanted = word[:_LONGEST_WORD].lower()
    parts = [part for part in _WORD_PART.findall(wanted) if part in by_lower]
    near = dict.fromkeys([*parts, *get_close_matches(wanted, by_lower, n=1)])
    return f"did you mean {' or '.join(by_lower[name] for name in near)}?" if near else ""


@dataclass(frozen=True, slots=True)
class Server:
    """One beanstalkd server."""

    name: str
    """The value of the `server` label: a valid Kubernetes label value."""
    host: str
    """DNS name or IP address, IPv6 without brackets."""
    port: int

    @property
    def address(self) -> str:
        """`HOST:PORT`, IPv6 in brackets."""
        return host_port(self.host, self.port)


@dataclass(frozen=True, slots=True)
class ObjectName:
    """The name of a namespaced Kubernetes object."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class ServicePort:
    """A port of a Service in the cluster."""

    service: ObjectName
    port: int

    @property
    def host(self) -> str:
        """The DNS name, which its certificate must have: `SERVICE.NAMESPACE.svc`."""
        return f"{self.service.name}.{self.service.namespace}.svc"


def host_port(host: str, port: int | str) -> str:
    """Return `HOST:PORT` as in a URL, IPv6 in brackets."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def parse_server(text: str) -> Server:
    """Parse `[NAME=]HOST[:PORT]`; NAME defaults to HOST. Raise SettingError."""
    name, equals, address = text.rpartition("=")
    if equals and not name:
        raise SettingError(f"{text!r} has no name before the '='; write NAME=HOST:PORT or just HOST:PORT")
    host, port_text = address, str(BEANSTALKD_PORT)
    if address.startswith("["):
        host, bracket, rest = address[1:].partition("]")
        if not bracket or (rest and not rest.startswith(":")):
            raise SettingError(f"{text!r} isn't an address; write IPv6 as [::1]:11300")
        port_text = rest[1:] if rest else port_text
    elif ":" in address and not is_ip(address):
        host, _, port_text = address.rpartition(":")
    port = _parse_port(port_text, text)
    if not (is_ip(host) or _HOST_NAME.fullmatch(host)):
        raise SettingError(
            f"{host!r} in {text!r} is neither a host name nor an IP address; write HOST:PORT, IPv6 as [::1]:11300"
        )
    label = name or host
    if not _LABEL_VALUE.fullmatch(label):
        raise SettingError(
            f"{label!r} can't be the `server` label of {text!r}: a label value has at most 63 letters, digits, '.', '_'"
            " or '-', and starts and ends with a letter or digit; give it a name: NAME=HOST:PORT"
        )
    return Server(label, host, port)


def distinct_servers(servers: tuple[Server, ...]) -> tuple[Server, ...]:
    """Return the servers. Raise SettingError if two have the same name or address."""
    seen: dict[str, Server] = {}
    for server in servers:
        namesake = seen.setdefault(server.name, server)
        if namesake is not server:
            raise SettingError(
                f"{namesake.address} and {server.address} are both named {server.name!r};"
                f" set different names: --beanstalkd NAME={server.address}"
            )
        same = seen.setdefault(server.address, server)  # an address has a ':', which no name has
        if same is not server:
            raise SettingError(
                f"{same.name!r} and {server.name!r} have the same address {server.address}: its jobs would be counted"
                " twice; list it once"
            )
    return servers


def _parse_port(port_text: str, text: str) -> int:
    if not (port_text.isascii() and port_text.isdigit() and 1 <= int(port_text[:6]) <= 65535):
        raise SettingError(f"{port_text!r} in {text!r} isn't a port; a port is a number from 1 to 65535")
    return int(port_text)


def is_ip(text: str) -> bool:
    """Return whether `text` is an IP address, IPv6 without brackets."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def parse_duration(text: str) -> float:
    """Return the seconds of a duration as Kubernetes has them: `500ms`, `15s`, `1m30s`, `2h`. Raise SettingError."""
    parts = _DURATION_PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise SettingError(f"{text!r} isn't a duration; write a number with a unit, like 500ms, 15s or 1m30s")
    seconds = float(sum(Decimal(number) * _UNIT_S[unit] for number, unit in parts))
    if seconds == 0:
        raise SettingError(
            f"{text!r} isn't a duration of any length; write a number with a unit, like 500ms, 15s or 1m30s"
        )
    return seconds


def parse_seconds(text: str) -> float:
    """Parse a number of seconds, including 0: `5`, `0.5`. Raise SettingError."""
    if not _SECONDS.fullmatch(text):
        raise SettingError(f"{text!r} isn't a number of seconds, such as 5 or 0.5")
    return float(text)


def parse_object_name(text: str) -> ObjectName:
    """Parse `NAMESPACE/NAME`. Raise SettingError."""
    namespace, slash, name = text.partition("/")
    if not (slash and _DNS_LABEL.fullmatch(namespace) and _DNS_SUBDOMAIN.fullmatch(name)):
        raise SettingError(f"{text!r} isn't NAMESPACE/NAME; use lower-case letters, digits and '-', in NAME also '.'")
    return ObjectName(namespace, name)


def parse_service_port(text: str) -> ServicePort:
    """Parse `NAMESPACE/SERVICE[:PORT]`; PORT defaults to HTTPS_PORT. Raise SettingError."""
    service, colon, port = text.partition(":")
    namespace, slash, name = service.partition("/")
    if not (slash and _DNS_LABEL.fullmatch(namespace) and _DNS_LABEL.fullmatch(name)):
        raise SettingError(
            f"{text!r} isn't NAMESPACE/SERVICE[:PORT]; use lower-case letters, digits and '-' in both names"
        )
    return ServicePort(ObjectName(namespace, name), _parse_port(port, text) if colon else HTTPS_PORT)


def is_dns_label(text: str) -> bool:
    """Return whether `text` can name a namespace: 1 to 63 lower-case letters, digits, and '-' except at an end."""
    return _DNS_LABEL.fullmatch(text) is not None


def parse_dns_subdomain(text: str) -> str:
    """Return a name of a Kubernetes object or DNS domain. Raise SettingError."""
    if not _DNS_SUBDOMAIN.fullmatch(text):
        raise SettingError(
            f"{text!r} isn't a valid name: use at most 253 lower-case letters, digits, '-' and '.',"
            " with a letter or digit at each end"
        )
    return text


def parse_networks(text: str) -> tuple[Network, ...]:
    """Parse addresses and CIDRs separated by commas, such as `10.0.0.0/8,fd00::1`. Raises SettingError.

    The host bits of a CIDR are ignored: 10.244.1.0/16 is 10.244.0.0/16. IPv4 in IPv6 is IPv4, as in `client_address`.
    """
    try:
        found = [ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",")] if text else []
    except ValueError as error:
        raise SettingError(f"{error}; expected addresses or CIDRs separated by commas: 10.0.0.0/8,fd00::/8") from None
    return tuple(_unmapped(network) for network in found)


def _unmapped(network: Network) -> Network:
    if isinstance(network, ipaddress.IPv4Network) or not network.subnet_of(_MAPPED):
        return network
    return ipaddress.IPv4Network((network.network_address.packed[-4:], network.prefixlen - _MAPPED.prefixlen))


def parse_path_prefix(text: str) -> str:
    """Return a path such as `/beanscale` without a final slash; `/` is empty. Raise SettingError."""
    prefix = text.rstrip("/")
    if prefix and (not _PATH_PREFIX.fullmatch(prefix) or {".", ".."} & set(prefix.split("/"))):
        raise SettingError(
            f"{text[:60]!r} isn't a path prefix: write /NAME, or /NAME/NAME, of letters, digits, '.', '_', '~' and '-'"
        )
    return prefix
