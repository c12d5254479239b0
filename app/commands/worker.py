"""`beanscale worker`: its options and their help."""

from typing import Any

import click

from app.logs import LogFormat, LogLevel, configure
from app.options import PORT, SECONDS, SERVER, logging_options
from app.settings import Server


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
    from app.worker import WorkerSettings, run  # noqa: PLC0415

    configure(log_format, log_level)
    return run(WorkerSettings(server=beanstalkd, **options))
