"""The command line: all commands, their options, and how wrong usage is reported."""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click

from app.kube.errors import KubeconfigError
from app.logs import LogFormat, LogLevel, configure
from app.settings import (
    InvalidFileError,
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

EXIT_USAGE_ERROR = 2
APISERVICE = "v1beta1.external.metrics.k8s.io"
MIN_TLS_DURATION_S, MAX_TLS_DURATION_S = 30.0, 876_000 * 3600.0

type Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]


class Parsed(click.ParamType[Any]):
    """An option's value that a function of settings.py parses."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Parse the value; a SettingError becomes click's usage error."""
        if not isinstance(value, str):
            return value
        try:
            return self._parse(value)
        except SettingError as error:
            self.fail(str(error), param, ctx)


SERVER = Parsed("[NAME=]HOST[:PORT]", parse_server)
OBJECT = Parsed("NAMESPACE/NAME", parse_object_name)
DURATION = Parsed("DURATION", parse_duration)
SECONDS = Parsed("SECONDS", parse_seconds)
NAME = Parsed("NAME", parse_dns_subdomain)
SERVICE_PORT = Parsed("NAMESPACE/SERVICE[:PORT]", parse_service_port)
PORT = click.IntRange(1, 65535)
FILE = click.Path(exists=True, dir_okay=False, readable=True, path_type=Path)


def servers_option(help_text: str) -> Decorator:
    """Return the option --beanstalkd of commands that take several servers."""
    return click.option("--beanstalkd", type=SERVER, multiple=True, required=True, help=help_text)


def bind_options(address: str, port: int, protocol: str) -> Decorator:
    """Return the options --bind and --port."""

    bind_help = "Address to listen on; :: for all, 0.0.0.0 for all of IPv4."
    bind_option = click.option("--bind", default=address, show_default=True, metavar="ADDRESS", help=bind_help)
    port_help = f"Port to listen on, for {protocol}."
    port_option = click.option("--port", type=PORT, default=port, show_default=True, help=port_help)
    return lambda function: bind_option(port_option(function))


def logging_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --log-format and --log-level."""
    levels, formats = click.Choice(["debug", "info", "warning", "error"]), click.Choice(["text", "json"])
    level = click.option("--log-level", type=levels, default="info", show_default=True, help="Lowest level to log.")
    format_ = click.option("--log-format", type=formats, default="text", show_default=True, help="Format of the log.")
    return format_(level(function))


def kubernetes_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options --kubeconfig and --context."""
    kubeconfig = click.option(
        "--kubeconfig",
        type=FILE,
        help="Path to the kubeconfig. Default: in a pod its ServiceAccount, else $KUBECONFIG or ~/.kube/config.",
    )
    context = click.option("--context", help="Context of the kubeconfig. Default: its current context.")
    return kubeconfig(context(function))


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "BEANSCALE",
        "max_content_width": 100,
    }
)
@click.version_option(package_name="beanscale", message="%(version)s")
def cli() -> None:
    """Scale Kubernetes workloads by the number of jobs in their beanstalkd tubes.

    beanscale polls beanstalkd every second and serves the readings as external metrics, by which a standard
    HorizontalPodAutoscaler scales. In a cluster, the Helm chart runs all of this. On a laptop:

    \b
      beanscale serve --beanstalkd 127.0.0.1:11300 --bind 127.0.0.1 --port 6443
      kubectl get --raw /apis/external.metrics.k8s.io/v1beta1/namespaces/default/tube-default

    Each option is also an environment variable: --max-age of serve is BEANSCALE_SERVE_MAX_AGE.
    """


@cli.command()
@servers_option("beanstalkd server to poll; repeatable. NAME is its `server` label. Default: HOST.")
@bind_options("::", 10250, "HTTPS")
@click.option(
    "--max-age",
    type=DURATION,
    default="15s",
    show_default=True,
    help="Maximum age of a reading; older ones return an error.",
)
@click.option(
    "--rules",
    type=FILE,
    help="YAML file with the keys metrics (further metrics) and tenancy (which namespaces can access which tubes)."
    " Read once, at start.",
)
@click.option(
    "--discovery-tubes/--no-discovery-tubes",
    default=True,
    show_default=True,
    help="List up to 50 tubes in discovery, which every authenticated client can read. With tenancy, none is listed.",
)
@click.option(
    "--shutdown-delay",
    type=SECONDS,
    default="0",
    show_default=True,
    help="How long to keep serving after SIGTERM while clients move to other replicas.",
)
@click.option(
    "--service",
    type=OBJECT,
    help="The Service of this server; the certificate names it.",
)
@click.option(
    "--tls-secret",
    type=NAME,
    help="Keep the certificate in this Secret of the Service's namespace, shared by all replicas, and its CA in the"
    " APIService. Without it, the certificate is kept in memory, and the APIService isn't changed.",
)
@click.option(
    "--ca-configmap",
    type=NAME,
    help="Publish the CA as ca.crt in this ConfigMap of the Service's namespace too, for clients such as Prometheus.",
)
@click.option(
    "--tls-mode",
    type=click.Choice(["self", "provided"]),
    default="self",
    show_default=True,
    help="self: create the certificate and its CA. provided: another program, such as cert-manager, writes it into the"
    " Secret as tls.crt, tls.key and ca.crt; it is read every ten seconds.",
)
@click.option(
    "--tls-min-version",
    type=click.Choice(["1.2", "1.3"]),
    default="1.3",
    show_default=True,
    help="Oldest TLS version to accept; of 1.2 only cipher suites with forward secrecy and authenticated encryption.",
)
@click.option(
    "--tls-duration", type=DURATION, default="720h", show_default=True, help="Validity of a certificate created here."
)
@click.option(
    "--tls-ca-duration",
    type=DURATION,
    default="8760h",
    show_default=True,
    help="Validity of a CA created here; both renew at two thirds.",
)
@click.option(
    "--apiservice",
    type=NAME,
    default=APISERVICE,
    show_default=True,
    help="The APIService in which to publish the CA.",
)
@click.option(
    "--cluster-domain", type=NAME, default="cluster.local", show_default=True, help="The cluster's DNS domain."
)
@click.option(
    "--forward-to",
    type=SERVICE_PORT,
    help="Service of the adapter that serves all other metrics, over HTTPS. Default PORT: 443.",
)
@click.option(
    "--forward-ca",
    type=FILE,
    help="CA that signed the certificate of --forward-to, as PEM; read again when it changes. The certificate must name"
    " SERVICE.NAMESPACE.svc.",
)
@click.option(
    "--forward-account",
    type=OBJECT,
    help="ServiceAccount whose short-lived token is sent to --forward-to; it must be allowed to list external metrics.",
)
@click.option(
    "--scaler",
    is_flag=True,
    help="Scale the workloads of HPAs that have beanscale's annotations: up within a second, to zero and back.",
)
@kubernetes_options
@click.option(
    "--audit-log",
    type=click.Choice(["refusals", "all"]),
    default="refusals",
    show_default=True,
    help="Which requests are logged: rejected and failed ones, or all except healthy probes.",
)
@logging_options
def serve(
    beanstalkd: tuple[Server, ...], rules: Path | None, log_format: LogFormat, log_level: LogLevel, **options: Any
) -> int:
    """Serve external metrics over HTTPS.

    Listens on ADDRESS with a certificate from its own CA unless one is provided, delegates authentication and
    authorization to Kubernetes, and never modifies beanstalkd.

    \b
    Metrics:
      tube-<tube>                               ready and reserved jobs in that tube, over all servers
      beanstalkd_tube_jobs                      jobs by state: ready, reserved, delayed, buried
      beanstalkd_tube_urgent_jobs               ready jobs with a priority below 1024
      beanstalkd_tube_workers_waiting           connections that wait for a job
      beanstalkd_tube_workers_watching          connections that watch the tube
      beanstalkd_tube_producers_using           connections that use the tube
      beanstalkd_tube_jobs_put_per_second       jobs put, over a window
      beanstalkd_tube_jobs_deleted_per_second   jobs deleted, over a window
      beanstalkd_tube_next_job_age_seconds      longest time for which the next job could have been taken
      beanstalkd_tube_drain_seconds             longest time until a tube is empty at the current rate, over all servers

    The first and the last have the label `tube`, the others `server` and `tube`. Add ?explain=true to a metric's URL
    to see how its value is computed.
    """
    from app.serve import ServeSettings, run  # noqa: PLC0415

    if options["tls_secret"] and not options["service"]:
        raise click.UsageError("--tls-secret requires --service: the Secret is in the Service's namespace")
    if options["tls_mode"] == "provided" and not options["tls_secret"]:
        raise click.UsageError("--tls-mode=provided requires --tls-secret, the Secret with the certificate")
    to, together = options["forward_to"], ("forward_to", "forward_ca", "forward_account")
    if any(options[each] for each in together) and not all(options[each] for each in together):
        raise click.UsageError(
            "--forward-to, --forward-ca and --forward-account require each other: the token of an account of its own is"
            " sent only to a verified server"
        )
    if to and to.service == options["service"]:
        raise click.UsageError(f"--forward-to {to.service} is beanscale itself; set it to the other adapter's Service")
    serving_s, authority_s = options["tls_duration"], options["tls_ca_duration"]
    if serving_s < MIN_TLS_DURATION_S:
        raise click.UsageError(f"--tls-duration must be at least {MIN_TLS_DURATION_S:.0f}s, to leave time for renewal")
    if authority_s < 3 * serving_s:
        raise click.UsageError(
            "--tls-ca-duration must be at least three times --tls-duration, to outlive its certificates"
        )
    if authority_s > MAX_TLS_DURATION_S:
        raise click.UsageError("--tls-ca-duration must be at most 876000h (a hundred years)")
    servers = distinct_servers(beanstalkd)
    loaded = _load_rules(rules, servers)
    configure(log_format, log_level)
    return run(ServeSettings(servers=servers, rules=loaded, **options))


def _load_rules(file: Path | None, servers: Sequence[Server]) -> Any:
    from app.metrics.rules import Rules  # noqa: PLC0415
    from app.metrics.rules_file import load_rules  # noqa: PLC0415

    return load_rules(file, [server.name for server in servers]) if file else Rules()


@cli.command()
@servers_option("beanstalkd server to show; repeatable. NAME is its name in the console. Default: HOST.")
@bind_options("127.0.0.1", 8081, "HTTP or, with --tls-cert, HTTPS")
@click.option(
    "--auth",
    type=click.Choice(["password", "none"]),
    default="password",
    show_default=True,
    help="How users authenticate: by password, or not at all.",
)
@click.option("--force-open", is_flag=True, help="Allow --auth none on a non-loopback address.")
@click.option(
    "--password-secret",
    type=OBJECT,
    help="Secret with the password in its key `password`; created there if the key is missing.",
)
@click.option(
    "--password-file",
    type=FILE,
    help="File with the password. Default without a Secret: generated at start and logged.",
)
@click.option(
    "--tls-cert",
    type=FILE,
    help="PEM file with the certificate, to serve HTTPS; with --tls-key. Both are read again when they change.",
)
@click.option("--tls-key", type=FILE, help="PEM file with the key of --tls-cert, without a password.")
@click.option("--read-only", is_flag=True, help="Reject all actions that change beanstalkd.")
@click.option(
    "--path-prefix",
    type=Parsed("/PREFIX", parse_path_prefix),
    default="",
    help="Path of the console below its host, as an ingress has it: /beanscale.",
)
@click.option(
    "--trusted-proxies",
    type=Parsed("CIDR[,CIDR...]", parse_networks),
    default="",
    help="Addresses of proxies in front of the console. Their X-Forwarded-For names the client, for limits and audit.",
)
@click.option("--rules", type=FILE, help="The same file as for serve.")
@click.option(
    "--max-age", type=DURATION, default="15s", show_default=True, help="Show values older than this as unknown."
)
@click.option(
    "--namespace",
    "namespaces",
    type=NAME,
    multiple=True,
    help="Show this namespace's autoscalers; repeatable. Default: all namespaces.",
)
@click.option("--no-kubernetes", is_flag=True, help="Show queues only; don't connect to a cluster.")
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
    """Show queues and autoscalers in the browser, and act on jobs.

    Explains why an autoscaler does or doesn't scale. Without a cluster it shows queues only.

    \b
      beanscale console --beanstalkd 127.0.0.1:11300
      beanscale console --beanstalkd eu=10.0.0.3 --beanstalkd us=10.1.0.3 --read-only
    """
    from app.console.serve import ConsoleSettings, run  # noqa: PLC0415

    servers = distinct_servers(beanstalkd)
    loaded = _load_rules(rules, servers)
    configure(log_format, log_level)
    return run(ConsoleSettings(servers=servers, rules=loaded, kubernetes=not no_kubernetes, **options))


@cli.command()
@click.option(
    "--beanstalkd", type=SERVER, required=True, metavar="HOST[:PORT]", help="beanstalkd server to take jobs from."
)
@click.option("--tube", required=True, help="Tube to take jobs from.")
@click.option("--seconds-per-job", type=SECONDS, default="5", show_default=True, help="How long each job takes.")
@bind_options("::", 8080, "HTTP")
@logging_options
def worker(beanstalkd: Server, log_format: LogFormat, log_level: LogLevel, **options: Any) -> int:
    """Run the hello-world worker: one job after the other, with a page that shows the current job.

    Working means waiting; the content of jobs is not used. After SIGTERM it finishes the current job.
    """
    from app.worker.hello_world import WorkerSettings, run  # noqa: PLC0415

    configure(log_format, log_level)
    return run(WorkerSettings(server=beanstalkd, **options))


@cli.command()
@servers_option("beanstalkd server to check; repeatable, as for serve.")
@click.option("--service", type=OBJECT, required=True, help="The Service of `beanscale serve`.")
@click.option("--apiservice", type=NAME, default=APISERVICE, show_default=True, help="The APIService of that Service.")
@click.option("--hpa", type=OBJECT, help="A HorizontalPodAutoscaler that must have a metric value.")
@click.option(
    "--tube-prefix", default="beanscale-smoke-", show_default=True, help="Beginning of the scratch tube's name."
)
@click.option("--timeout", type=DURATION, default="60s", show_default=True, help="Time limit per check.")
@kubernetes_options
def smoke(beanstalkd: tuple[Server, ...], timeout: float, **options: Any) -> int:
    """Check the whole path from beanstalkd to the autoscaler, step by step. `helm test` runs this.

    Puts three jobs into a scratch tube and always deletes them again. Exit status 1: a check failed; the output has
    its cause and a hint.
    """
    from app.smoke.steps import SmokeSettings, run  # noqa: PLC0415

    return run(SmokeSettings(servers=distinct_servers(beanstalkd), timeout_s=timeout, **options))


@cli.command()
@click.argument("metric")
@click.option(
    "-n",
    "--namespace",
    type=NAME,
    help="Namespace of the autoscalers. Default: the kubeconfig context's, in a pod the pod's own.",
)
@click.option(
    "-l", "--selector", default="", help="Label selector of the metric; selects autoscalers that use the same."
)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True, help="Output format."
)
@kubernetes_options
def explain(**options: Any) -> int:
    """Explain the value of METRIC, and why its autoscalers do or don't scale.

    Shows what the metric counts, each server and tube with its reading and age, the arithmetic, and for each
    HorizontalPodAutoscaler that uses the metric the steps to its number of pods, what beanscale does by its
    annotations, and its Events. Exit status 1: the metric can't be queried.

    \b
      beanscale explain tube-orders -n shop
      beanscale explain beanstalkd_tube_jobs -n shop -l tube=orders,state=ready
      kubectl -n beanscale exec deployment/beanscale-server -- beanscale explain tube-orders -n shop
    """
    from app.explain.main import ExplainSettings, run  # noqa: PLC0415

    return run(ExplainSettings(**options))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status; for wrong usage print a line for each error and return 2."""
    try:
        return int(cli.main(arguments, prog_name="beanscale", standalone_mode=False) or 0)
    except click.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message())
        return EXIT_USAGE_ERROR
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "beanscale"
        problems = [f"{error.format_message().rstrip('.')}; see {command} --help"]
    except InvalidFileError as error:
        command, problems = "beanscale", list(error.errors)
    except (click.ClickException, SettingError, KubeconfigError) as error:
        command, problems = "beanscale", [str(error)]
    for problem in problems:
        print(f"{command}: {' '.join(problem.split()).removesuffix('.')}", file=sys.stderr)  # noqa: T201
    return EXIT_USAGE_ERROR
