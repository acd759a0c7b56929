"""The `sfvopi` command: sub-commands and nothing else. Each lives in a file of its own."""

from typing import Annotated

import typer

from shared.cli import calls, metrics_list, settings_list
from shared.cli.bench.command import bench_app
from shared.cli.call import EPILOG, call
from shared.cli.demo.command import demo
from shared.cli.doctor.command import doctor
from shared.cli.drain import drain
from shared.cli.restart import restart
from shared.cli.terminal import show
from shared.cli.up.command import up
from shared.version import VERSION

app = typer.Typer(
    name="sfvopi",
    rich_markup_mode=None,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        show(f"sfvopi-fleet {VERSION}")
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Answer SFVoPI phone calls with Pipecat bots, at scale.

    \b
    Start here:
      sfvopi demo              hear a whole call, without keys or a phone
      sfvopi doctor            is this machine ready, and if not, what to do
      sfvopi up --tunnel       run a fleet here and connect a real number
    """


app.command(short_help="Hear one whole call: no keys, no phone, no Redis.")(demo)
app.command(short_help="Run a fleet on this machine, for real calls.")(up)
app.command(short_help="Replace every process of the fleet that runs here, under its calls.")(restart)
app.command(short_help="Check this machine and its settings; where to look for a symptom.")(doctor)
app.command(short_help="Place one call, as the carrier would, against any answer URL.", epilog=EPILOG)(call)
app.add_typer(bench_app, name="bench", short_help="How many calls of your bot does this machine carry?")
app.add_typer(calls.calls_app, name="calls", short_help="List calls, or show one with its timeline.")
app.command(short_help="Show what was on the wire of one call.")(calls.wire)
app.command(short_help="List workers: state, calls, capacity.")(calls.workers)
app.command(short_help="Take a worker out of service; with --handover its calls go on elsewhere.")(drain)
app.command(short_help="Let the calls of a quarantined bot in again.")(calls.release)
app.command(short_help="End one call.")(calls.end)
app.command(short_help="List every setting, its default and its meaning.")(settings_list.settings)
app.command(short_help="List every metric, its labels and its meaning.")(metrics_list.metrics)
