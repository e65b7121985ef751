"""`msa`: the commands, and nothing heavier than their names until one is called."""

import importlib
import sys
from typing import Final

import click

import msa

_COMMANDS: Final = {
    "agent": "msa.cli.agent",
    "leave": "msa.cli.leave",
    "log-level": "msa.cli.log_level",
    "manager": "msa.cli.manager",
}
"""Command name to the module that holds it; imported when it is needed, since `--help` should not wait for a client library."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        if cmd_name not in _COMMANDS:
            return None
        command: click.Command = importlib.import_module(_COMMANDS[cmd_name]).command
        return command


@click.group(
    cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110}
)
@click.version_option(msa.__version__, prog_name="msa")
def cli() -> None:
    """Managed ServiceAccount for Open Cluster Management.

    Identities on managed clusters, their tokens kept fresh in Secrets on the hub.
    """


def main(arguments: list[str] | None = None) -> None:
    """Runs the command line; every error a user can make is one line on stderr and an exit code that is not 0."""
    try:
        code = cli.main(arguments, prog_name="msa", standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "msa"
        click.echo(f"{where}: {error.format_message()} (see {where} --help)", err=True)
        sys.exit(error.exit_code)
    except click.Abort:
        sys.exit(130)
    sys.exit(code if isinstance(code, int) else 0)
