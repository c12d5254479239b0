"""The command line as a whole: its commands, and what becomes of a wrong one."""

import sys
from collections.abc import Sequence

import click

from app.cli import console, explain, serve, smoke, worker
from app.settings import MistakesError, SettingError

EXIT_WRONG_USE = 2


@click.group(
    context_settings={
        "help_option_names": ["-h", "--help"],
        "auto_envvar_prefix": "BEANSCALE",
        "max_content_width": 100,
    }
)
@click.version_option(package_name="beanscale", message="%(version)s")
def cli() -> None:
    """Scale Kubernetes workloads by what waits in their beanstalkd tubes.

    beanscale reads beanstalkd every second and serves what it read as external metrics, so that an ordinary
    HorizontalPodAutoscaler can scale by them. In a cluster the Helm chart runs all of this; on a laptop:

    \b
      beanscale serve --beanstalkd 127.0.0.1:11300 --bind 127.0.0.1 --port 6443
      kubectl get --raw /apis/external.metrics.k8s.io/v1beta1/namespaces/default/tube-default

    Every option is an environment variable too: --max-age of serve is BEANSCALE_SERVE_MAX_AGE.
    """


for command in (serve, console, worker, smoke, explain):
    cli.add_command(command)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; exit status 2 and a line on standard error for each mistake where it can't be run as called."""
    try:
        return int(cli.main(arguments, prog_name="beanscale", standalone_mode=False) or 0)
    except click.Abort:
        return 130
    except click.exceptions.NoArgsIsHelpError as help_page:
        click.echo(help_page.format_message())
        return EXIT_WRONG_USE
    except click.UsageError as error:
        command = error.ctx.command_path if error.ctx else "beanscale"
        print(f"{command}: {_one_line(error.format_message())}; see {command} --help", file=sys.stderr)  # noqa: T201
    except MistakesError as error:
        for mistake in error.mistakes:
            print(f"beanscale: {_one_line(mistake)}", file=sys.stderr)  # noqa: T201
    except (click.ClickException, SettingError) as error:
        print(f"beanscale: {_one_line(str(error))}", file=sys.stderr)  # noqa: T201
    return EXIT_WRONG_USE


def _one_line(text: str) -> str:
    return " ".join(text.split()).removesuffix(".")


if __name__ == "__main__":
    sys.exit(main())
