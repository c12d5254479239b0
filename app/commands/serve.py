"""`beanscale serve`: its options and their help."""

from pathlib import Path
from typing import Any

import click

from app.logs import LogFormat, LogLevel, configure
from app.options import (
    APISERVICE,
    DURATION,
    FILE,
    NAME,
    OBJECT,
    PORT,
    SECONDS,
    SERVICE_PORT,
    kubernetes_options,
    logging_options,
    servers_option,
)
from app.settings import Server, distinct_servers

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
    from app.metrics.rule import Rules  # noqa: PLC0415
    from app.metrics.rules_file import load_rules  # noqa: PLC0415
    from app.server import run  # noqa: PLC0415
    from app.server_parts import ServeSettings  # noqa: PLC0415

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
