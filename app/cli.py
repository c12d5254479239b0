"""`beanscale serve`: its options and their help.

What the commands' options have in common: how their values are read, and those that several commands take.

`beanscale console`: its options and their help.

`beanscale worker`: its options and their help.

`beanscale smoke`: its options and their help.

`beanscale explain`: its options and their help.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from app.logs import LogFormat, LogLevel, configure
from app.settings import (
    Server,
    SettingError,
    distinct_servers,
    parse_dns_subdomain,
    parse_duration,
    parse_networks,
    parse_object_name,
    parse_path_prefix,
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


SHORTEST_LIFE_S, LONGEST_LIFE_S = 30.0, 876_000 * 3600.0


@click.command()
@servers_option("A beanstalkd to read; again for each further one. NAME is its `server` label, HOST if not given.")
@click.option("--bind", default="0.0.0.0", show_default=True, metavar="ADDRESS", help="Address to listen on.")  # noqa: S104 - a pod's
@click.option("--port", type=PORT, default=10250, show_default=True, help="Port to listen on, for HTTPS.")
@click.option(
    "--max-age",
    type=DURATION,
    default="15s",
    show_default=True,
    help="A reading older than this is an error, not a value.",
)
@click.option(
    "--rules",
    type=FILE,
    help="Metrics of your own and which namespaces may see which tubes: a YAML file with the keys metrics and tenancy."
    " It is read once, at start.",
)
@click.option(
    "--shutdown-delay",
    type=SECONDS,
    default="0",
    show_default=True,
    help="How long to go on serving after SIGTERM, while those who ask are being told to ask elsewhere.",
)
@click.option(
    "--service",
    type=OBJECT,
    metavar="NAMESPACE/NAME",
    help="The Service before this server: its names go into the certificate.",
)
@click.option(
    "--tls-secret",
    type=NAME,
    help="Keep the certificate in this Secret of the Service's namespace, shared by all replicas, and its CA in the"
    " APIService. Without it the certificate lives in memory and the APIService is left alone.",
)
@click.option(
    "--tls-mode",
    type=click.Choice(["self", "provided"]),
    default="self",
    show_default=True,
    help="self: make the certificate and its CA. provided: somebody else, such as cert-manager, keeps it in the Secret,"
    " as tls.crt, tls.key and ca.crt; it is read anew every ten seconds.",
)
@click.option(
    "--tls-duration", type=DURATION, default="720h", show_default=True, help="How long a certificate of our own holds."
)
@click.option(
    "--tls-ca-duration",
    type=DURATION,
    default="8760h",
    show_default=True,
    help="How long a CA of our own holds; both are renewed at two thirds.",
)
@click.option(
    "--apiservice",
    type=NAME,
    default=APISERVICE,
    show_default=True,
    help="The APIService to put the CA into.",
)
@click.option(
    "--cluster-domain", type=NAME, default="cluster.local", show_default=True, help="The cluster's DNS domain."
)
@click.option(
    "--forward-to",
    type=SERVICE_PORT,
    metavar="NAMESPACE/SERVICE[:PORT]",
    help="The Service of another external metrics adapter, which is asked for every metric that isn't ours: over"
    " HTTPS, with our ServiceAccount's token. PORT is 443 if not given.",
)
@click.option(
    "--forward-ca",
    type=FILE,
    help="The CA that vouches for the certificate of --forward-to, which must be for SERVICE.NAMESPACE.svc, as PEM;"
    " read anew when it changes.",
)
@kubernetes_options
@click.option(
    "--audit-log",
    type=click.Choice(["refusals", "all"]),
    default="refusals",
    show_default=True,
    help="Which requests get a line of the log: those refused or failed, or all but healthy probes.",
)
@logging_options
def serve(
    beanstalkd: tuple[Server, ...], rules: Path | None, log_format: LogFormat, log_level: LogLevel, **options: Any
) -> int:
    """Serve external metrics over HTTPS.

    It listens on ADDRESS with a certificate of its own making, lets Kubernetes decide who may ask, and never changes
    anything in beanstalkd.

    \b
    Metrics:
      tube-<tube>                               jobs ready and reserved in that tube, over all servers
      beanstalkd_tube_jobs                      jobs by state: ready, reserved, delayed, buried
      beanstalkd_tube_urgent_jobs               ready jobs of a priority below 1024
      beanstalkd_tube_workers_waiting           connections that wait for a job
      beanstalkd_tube_workers_watching          connections that watch the tube
      beanstalkd_tube_producers_using           connections that use the tube
      beanstalkd_tube_jobs_put_per_second       jobs put, over a window
      beanstalkd_tube_jobs_deleted_per_second   jobs deleted, over a window
      beanstalkd_tube_next_job_age_seconds      age of the job that would be reserved next
      beanstalkd_tube_drain_seconds             time until a tube is empty at today's pace, over all servers

    All but the first and the last have the labels `server` and `tube`, and those two `tube`. Why a metric has its value
    is answered to its URL with ?explain=true.
    """
    from app.metrics.rules import Rules  # noqa: PLC0415
    from app.metrics.rules_file import load_rules  # noqa: PLC0415
    from app.serve import ServeSettings, run  # noqa: PLC0415

    if options["tls_secret"] and not options["service"]:
        raise click.UsageError("--tls-secret needs --service: the Secret is in the Service's namespace")
    if options["tls_mode"] == "provided" and not options["tls_secret"]:
        raise click.UsageError("--tls-mode=provided needs --tls-secret: where the certificate is")
    _check_forwarding(options)
    _check_lives(options["tls_duration"], options["tls_ca_duration"])
    servers = distinct_servers(beanstalkd)
    known = load_rules(rules, [server.name for server in servers]) if rules else Rules()
    configure(log_format, log_level)
    return run(ServeSettings(servers=servers, rules=known, **options))


def _check_forwarding(options: dict[str, Any]) -> None:
    to, ca = options["forward_to"], options["forward_ca"]
    if to and not ca:
        raise click.UsageError("--forward-to needs --forward-ca: our token is shown to nobody whom no CA vouches for")
    if ca and not to:
        raise click.UsageError("--forward-ca needs --forward-to: whom it vouches for")
    if to and to.service == options["service"]:
        raise click.UsageError(f"--forward-to {to.service} is beanscale itself; give it the other adapter's Service")


def _check_lives(serving_s: float, authority_s: float) -> None:
    if serving_s < SHORTEST_LIFE_S:
        raise click.UsageError(f"--tls-duration must be {SHORTEST_LIFE_S:.0f}s or more, or nobody has time to renew it")
    if authority_s < 3 * serving_s:
        raise click.UsageError(
            "--tls-ca-duration must be three times --tls-duration or more: a CA outlives what it signs"
        )
    if authority_s > LONGEST_LIFE_S:
        raise click.UsageError("--tls-ca-duration must be 876000h (a hundred years) or less")


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
@click.option(
    "--trusted-proxies",
    type=Parsed("CIDR[,CIDR...]", parse_networks),
    default="",
    help="Addresses of proxies in front of the console. Their X-Forwarded-For names the client, for limits and audit.",
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
    from app.console.serve import ConsoleSettings, run  # noqa: PLC0415
    from app.metrics.rules import Rules  # noqa: PLC0415
    from app.metrics.rules_file import load_rules  # noqa: PLC0415

    servers = distinct_servers(beanstalkd)
    known = load_rules(rules, [server.name for server in servers]) if rules else Rules()
    configure(log_format, log_level)
    return run(ConsoleSettings(servers=servers, rules=known, kubernetes=not no_kubernetes, **options))


@click.command()
@click.option("--beanstalkd", type=SERVER, required=True, metavar="HOST[:PORT]", help="Whose jobs to do.")
@click.option("--tube", required=True, help="The tube to take them from.")
@click.option(
    "--seconds-per-job",
    type=SECONDS,
    default="5",
    show_default=True,
    help="How long each job is worked on.",
)
@click.option("--bind", default="0.0.0.0", show_default=True, metavar="ADDRESS", help="Where the page is.")  # noqa: S104
@click.option("--port", type=PORT, default=8080, show_default=True, help="Port of the page, for HTTP.")
@logging_options
def worker(beanstalkd: Server, log_format: LogFormat, log_level: LogLevel, **options: Any) -> int:
    """The hello-world: do one job after the other, and show a page that says which.

    A job is done by waiting; what is in it isn't looked at. On SIGTERM the job in hand is finished first.
    """
    from app.worker.run import WorkerSettings, run  # noqa: PLC0415

    configure(log_format, log_level)
    return run(WorkerSettings(server=beanstalkd, **options))


@click.command()
@servers_option("A beanstalkd to check; again for each further one, just as for serve.")
@click.option(
    "--service", type=OBJECT, required=True, metavar="NAMESPACE/NAME", help="The Service of `beanscale serve`."
)
@click.option("--apiservice", type=NAME, default=APISERVICE, show_default=True, help="The APIService that leads to it.")
@click.option(
    "--hpa", type=OBJECT, metavar="NAMESPACE/NAME", help="A HorizontalPodAutoscaler that must see its metric."
)
@click.option(
    "--tube-prefix", default="beanscale-smoke-", show_default=True, help="How the scratch tube's name begins."
)
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="For each link.")
@kubernetes_options
def smoke(beanstalkd: tuple[Server, ...], timeout: float, **options: Any) -> int:
    """Check the whole chain from beanstalkd to the autoscaler, link by link; what `helm test` runs.

    It puts three jobs into a scratch tube and takes them away again, whatever happens. Exit status 1: a link is broken,
    and the output says which and how to mend it.
    """
    from app.smoke.command import SmokeSettings, run  # noqa: PLC0415

    return run(SmokeSettings(servers=distinct_servers(beanstalkd), timeout_s=timeout, **options))


@click.command()
@click.argument("metric")
@click.option(
    "-n",
    "--namespace",
    type=NAME,
    help="Whose autoscalers ask. Default: the kubeconfig context's, in a pod the pod's own.",
)
@click.option("-l", "--selector", default="", help="The metric for these labels, and the autoscalers with the same.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="For whom to write."
)
@kubernetes_options
def explain(**options: Any) -> int:
    """Why METRIC has its value, and why its autoscalers do or don't scale.

    It shows what the metric counts, each server and tube with its reading and age, the arithmetic, and of each
    HorizontalPodAutoscaler that goes by it every step to its number of pods, and which one decided. Exit status 1: the
    metric couldn't be asked for.

    \b
      beanscale explain tube-orders -n shop
      beanscale explain beanstalkd_tube_jobs -n shop -l tube=orders,state=ready
      kubectl -n beanscale exec deployment/beanscale-server -- beanscale explain tube-orders -n shop
    """
    from app.explain.main import ExplainSettings, run  # noqa: PLC0415

    return run(ExplainSettings(**options))
