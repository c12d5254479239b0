"""What `beanscale console` was told."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from app.metrics.rules import Rules
from app.settings import ObjectName, Server

Auth = Literal["password", "none"]
"""Who may come in: whoever knows the password, or everybody."""


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """All of it."""

    servers: tuple[Server, ...]
    bind: str
    """An IP address of this machine, or 0.0.0.0 or :: for all."""
    port: int
    auth: Auth = "password"
    force_open: bool = False
    """Whether everybody may come in from elsewhere too."""
    password_secret: ObjectName | None = None
    password_file: Path | None = None
    read_only: bool = False
    path_prefix: str = ""
    """Empty, or `/x`: where the pages are below their host."""
    rules: Rules = field(default_factory=Rules)
    max_age: float = 15.0
    """Seconds: what is older isn't known any more."""
    kubernetes: bool = True
    kubeconfig: Path | None = None
    context: str | None = None
    namespaces: tuple[str, ...] = ()
    """Whose autoscalers are shown; empty: all."""
