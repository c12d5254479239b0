"""`beanscale explain`: its options and their help."""

from typing import Any

import click

from app.options import NAME, kubernetes_options


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
    from app.explain import ExplainSettings, run  # noqa: PLC0415

    return run(ExplainSettings(**options))
