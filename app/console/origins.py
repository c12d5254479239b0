"""Whether a request comes from the console's own pages, by what a browser says that no page can change. Pure.

Sources: the Fetch standard (Origin) and Fetch Metadata (Sec-Fetch-Site).
"""

import ipaddress
from collections.abc import Mapping
from urllib.parse import urlsplit

_LOCAL = "localhost"


def foreign(headers: Mapping[str, str]) -> str | None:
    """Why an action isn't our own page's, as a clause; None where it may be. No browser sends a POST without Origin."""
    site = headers.get("sec-fetch-site")
    if site not in {None, "same-origin"}:
        return f"it comes from another site (Sec-Fetch-Site: {site[:20] if site else ''})"
    origin, host = headers.get("origin"), headers.get("host", "").lower()
    if origin is not None and (not host or _host_of(origin) != host):
        return (
            "its Origin isn't the console's own; a proxy before the console must hand on the Host header with its port"
        )
    return None


def is_loopback(host: str) -> bool:
    """Whether a Host header names this machine: a page of another site that has its name lead here doesn't."""
    try:
        name = urlsplit(f"//{host}").hostname if host.count("//") == 0 else None
    except ValueError:  # as of half an IPv6 address
        return False
    return name is not None and (name == _LOCAL or name.endswith(f".{_LOCAL}") or is_loopback_address(name))


def is_loopback_address(address: str) -> bool:
    """Whether only this machine can reach it."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _host_of(origin: str) -> str:
    scheme, separator, host = origin.partition("://")
    if not separator or scheme not in {"http", "https"}:
        return ""  # as `null`, which a sandboxed page has
    return host.removesuffix(":443" if scheme == "https" else ":80").lower()
