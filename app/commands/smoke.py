"""`beanscale smoke`: its options and their help."""

from typing import Any

import click

from app.options import APISERVICE, DURATION, NAME, OBJECT, kubernetes_options, servers_option
from app.settings import Server, distinct_servers


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
    from app.smoke import SmokeSettings, run  # noqa: PLC0415

    return run(SmokeSettings(servers=distinct_servers(beanstalkd), timeout_s=timeout, **options))
