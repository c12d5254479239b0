"""`beanscale console`: its options and their help."""

from pathlib import Path
from typing import Any

import click

from app.logs import LogFormat, LogLevel, configure
from app.options import DURATION, FILE, NAME, OBJECT, PORT, Parsed, kubernetes_options, logging_options, servers_option
from app.settings import Server, distinct_servers, parse_path_prefix


@click.command()
@servers_option("A beanstalkd to show; again for each further one, just as for serve.")
@click.option("--bind", default="127.0.0.1", show_default=True, metavar="ADDRESS", help="Address to listen on.")
@click.option("--port", type=PORT, default=8081, show_default=True, help="Port to listen on, for HTTP.")
@click.option(
    "--auth",
    type=click.Choice(["password", "none"]),
    default="password",
    show_default=True,
    help="Who may come in: whoever knows the password, or everybody who reaches it.",
)
@click.option(
    "--force-open", is_flag=True, help="Let --auth none be, where others than this machine reach the console too."
)
@click.option(
    "--password-secret",
    type=OBJECT,
    metavar="NAMESPACE/NAME",
    help="The password is in this Secret's key `password`, and is made there if it has none.",
)
@click.option(
    "--password-file",
    type=FILE,
    help="The password is in this file. Without file and Secret one is made for this run, and the log shows it.",
)
@click.option("--read-only", is_flag=True, help="Change nothing in beanstalkd, whatever anybody asks for.")
@click.option(
    "--path-prefix",
    type=Parsed("/PREFIX", parse_path_prefix),
    default="",
    help="Where the pages are below their host, as an ingress has it: /beanscale.",
)
@click.option("--rules", type=FILE, help="The same metrics and tenancy as serve's.")
@click.option("--max-age", type=DURATION, default="15s", show_default=True, help="What is older isn't known any more.")
@click.option(
    "--namespace",
    "namespaces",
    type=NAME,
    multiple=True,
    help="Show this namespace's autoscalers; again for each further one. Default: all of the cluster.",
)
@click.option("--no-kubernetes", is_flag=True, help="Show queues alone, and ask no cluster.")
@kubernetes_options
@logging_options
def console(
    beanstalkd: tuple[Server, ...],
    rules: Path | None,
    no_kubernetes: bool,
    log_format: LogFormat,
    log_level: LogLevel,
    **options: Any,
) -> int:
    """Show queues, autoscalers and why they do or don't scale, and mend what is stuck: a page for the browser.

    Without a cluster it shows queues alone.

    \b
      beanscale console --beanstalkd 127.0.0.1:11300
      beanscale console --beanstalkd eu=10.0.0.3 --beanstalkd us=10.1.0.3 --read-only
    """
    from app.console.main import run  # noqa: PLC0415
    from app.console.settings import ConsoleSettings  # noqa: PLC0415
    from app.metrics.rule import Rules  # noqa: PLC0415
    from app.metrics.rules_file import load_rules  # noqa: PLC0415

    servers = distinct_servers(beanstalkd)
    known = load_rules(rules, [server.name for server in servers]) if rules else Rules()
    configure(log_format, log_level)
    return run(ConsoleSettings(servers=servers, rules=known, kubernetes=not no_kubernetes, **options))
