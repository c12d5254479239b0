"""What the commands' options have in common: how their values are read, and those that several commands take."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.settings import (
    SettingError,
    parse_dns_subdomain,
    parse_duration,
    parse_object_name,
    parse_seconds,
    parse_server,
    parse_service_port,
)


class Parsed(click.ParamType[Any]):
    """A value that settings.py reads."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Turn a SettingError into click's."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except SettingError as error:
            self.fail(str(error), param, ctx)


APISERVICE = "v1beta1.external.metrics.k8s.io"
"""The one that leads to us, unless somebody named theirs otherwise."""

SERVER = Parsed("[NAME=]HOST[:PORT]", parse_server)
OBJECT = Parsed("NAMESPACE/NAME", parse_object_name)
DURATION = Parsed("DURATION", parse_duration)
SECONDS = Parsed("SECONDS", parse_seconds)
NAME = Parsed("NAME", parse_dns_subdomain)
SERVICE_PORT = Parsed("NAMESPACE/SERVICE[:PORT]", parse_service_port)
PORT = click.IntRange(1, 65535)
FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)
Decorated = Callable[..., Any]


def options(*options: Callable[[Decorated], Decorated]) -> Callable[[Decorated], Decorated]:
    def decorate(function: Decorated) -> Decorated:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate


def servers_option(help_text: str) -> Callable[[Decorated], Decorated]:
    return click.option(
        "--beanstalkd",
        type=SERVER,
        multiple=True,
        required=True,
        metavar="[NAME=]HOST[:PORT]",
        help=help_text,
    )


logging_options = options(
    click.option(
        "--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True, help="How to log."
    ),
    click.option(
        "--log-level",
        type=click.Choice(["debug", "info", "warning", "error"]),
        default="info",
        show_default=True,
        help="What to log.",
    ),
)
kubernetes_options = options(
    click.option(
        "--kubeconfig",
        type=FILE,
        help="Which cluster, and as whom. Default: in a pod its ServiceAccount, else $KUBECONFIG or ~/.kube/config.",
    ),
    click.option("--context", help="A context of the kubeconfig other than its current one."),
)
