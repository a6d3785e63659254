"""The `dd-assets` command.

Belongs here: the command group and how refusals end it. Does not belong: any command (computing.py, looking.py,
reporting.py, sharing.py, studying.py, sweeping.py), or anything that a Dagster run or a library user would also need.
Heavy imports happen inside the commands, so that `--help` and listings stay quick.
"""

from __future__ import annotations

import sys
from typing import Any

import click

from dd_assets import machine
from dd_assets.cli import computing, looking, reporting, sharing, studying, sweeping
from dd_assets.errors import DDError

_GO_ON = "the same command goes on from what is stored"


class _Refusals(click.Group):
    """Prints a DDError, and what a failing machine raises, as one line and exits with its code."""

    def invoke(self, ctx: click.Context) -> Any:
        machine.end_on_signals()
        try:
            return super().invoke(ctx)
        except DDError as error:
            click.echo(f"dd-assets: {error}", err=True)
            sys.exit(error.exit_code)
        except SystemExit as end:
            if end.code == machine.TERMINATED:
                click.echo(f"dd-assets: ended by SIGTERM → {_GO_ON}", err=True)
            raise
        except KeyboardInterrupt:
            click.echo(f"dd-assets: ended by Ctrl-C → {_GO_ON}", err=True)
            sys.exit(machine.INTERRUPTED)
        except Exception as error:
            failure = machine.machine_error(error)
            if failure is None:
                raise
            click.echo(f"dd-assets: {failure}", err=True)
            sys.exit(failure.exit_code)


@click.group(cls=_Refusals, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Dataset distillation as data assets."""


for module in (computing, looking, reporting, sharing, studying, sweeping):
    for command in module.COMMANDS:
        main.add_command(command)
