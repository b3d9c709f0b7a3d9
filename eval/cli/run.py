"""`secure-fl run`: a job started or resumed, with its table and its report."""

from __future__ import annotations

import argparse
import shlex
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO, cast

from eval.cli.console import Outliving, quoted, shown
from ledger.files import printable

if TYPE_CHECKING:
    from secure_fl.federation import Federation
    from secure_fl.settings.schema import ExperimentConfig

RUN_HELP = """\
settings:
  group=NAME      choose a file of a group: {groups}
  attack=NAME     this attack alone; attack.params.KEY=VALUE sets its parameters.
                  NAME may be module:Class, an attack of your own in the current directory
  defence=NAME    this defence alone; NAME may also be a rule (secure-fl list), or
                  module:function, a rule of your own; defence.rule= takes the same
  FILE.yaml       settings out of a file, nested as in a run's config.yaml; what stands after it
                  on the command line wins. It permits no code of your own: name that here
  KEY=VALUE       any single setting (texts and paths as they are); the common ones:
      rounds=200                      federated rounds of each cell
      malicious=[0.1,0.2,0.3]         shares of malicious hospitals, at most 0.5
      attacks=[label_flip,backdoor]   attacks of the job; the clean run is always added
      defences=[fedavg,guarded]       defences of the job
      defence.backend=plain           every selected defence in the clear, for a quick look
      seed=1  data.hospitals=10  data.alpha=0.3  train.epochs=5  privacy.clip_norm=1.0

examples:
  secure-fl run                                        the main job
  secure-fl run --quick                                the same, smaller
  secure-fl run experiment=fig4                        a figure of the paper
  secure-fl run defence=guarded attack=backdoor rounds=20 --out runs/mine
  secure-fl run attack=my_module:MyAttack attack.params.strength=2
  secure-fl run data=lidc_nodules model=cnn
  secure-fl run --resume runs/mine                     complete an interrupted job

A wrong key or value is refused before anything runs, with the choices there are.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl run`."""
    parser.description = "Run an experiment: every defence against every attack."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = RUN_HELP.replace("{groups}", _groups())
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help="group=NAME, KEY=VALUE or FILE.yaml"
    )
    parser.add_argument(
        "--quick", action="store_true", help="the smaller main job (experiment=quick)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="new run folder (default: runs/...)"
    )
    parser.add_argument("--resume", type=Path, metavar="RUN", help="complete an interrupted job")


def command(options: argparse.Namespace) -> int:
    """Run or resume a job, then print its table and write its report."""
    from rich.console import Console

    from eval.jobs import grid, starting
    from eval.jobs.manifest import job_head
    from eval.jobs.plan import plan
    from eval.jobs.progress import LiveView, PlainLines
    from eval.report.report import write_report
    from eval.tables import console_table
    from secure_fl.errors import InputError
    from secure_fl.settings.config import load_config
    from secure_fl.simulation.prepare import prepare

    if options.resume is not None:
        if options.settings or options.quick or options.out is not None:
            raise InputError("--resume takes its settings from the run: give none with it")
        folder = options.resume
        config = starting.resume_job(folder, options.allow)
        federation = prepare(config)
    else:
        quick = ["experiment=quick"] if options.quick else []
        named = [each for each in options.settings if each.startswith("experiment=")]
        if quick and named:
            raise InputError(
                f"--quick is experiment=quick and goes with no other; got {named[0]}: shorten that "
                "by rounds= and the like"
            )
        config = load_config([*quick, *options.settings], options.allow)
        folder, federation = _start(config, options.out)
    console = Console()
    if not console.is_terminal:
        note = f"secure-fl: nobody reads any more; the job goes on, results in {shown(folder)}"
        kept = cast("TextIO", Outliving(sys.stdout, note))
        console = Console(file=kept, width=110)  # wide enough for every table
    cells = len(plan(config))
    plain: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
    console.print(f"{config.name}: {cells} cells, results in {shown(folder)}", **plain)
    # What this command permitted the next ones must be told again.
    allowed = "".join(f" --allow {shlex.quote(name)}" for name in config.own_names)
    again = f"secure-fl run --resume {quoted(folder)}{allowed}"
    try:
        if console.is_terminal:
            with LiveView(console, cells) as view:
                rows = grid.run_job(config, federation, folder, view)
        else:
            rows = grid.run_job(config, federation, folder, PlainLines(console, cells))
    except KeyboardInterrupt:
        print(f"secure-fl: to go on: {again}", file=sys.stderr)
        raise
    failed = grid.failures(folder)
    if rows:
        report = write_report(folder)  # before anything about it is printed
        console.print(console_table(rows), crop=False)
        audit = f"audit:  secure-fl audit {quoted(folder)}{allowed}"
        if config.data.path is not None:
            audit += f" --data {quoted(Path(config.data.path))}"
        console.print(f"report: {shown(report)}\n{audit}\nhead:   {job_head(folder)}", **plain)
    if failed:
        told = printable("; ".join(f"{each['cell']}: {each['reason']}" for each in failed))
        print(
            f"secure-fl: {len(failed)} of {cells} cells failed ({again} tries them again): {told}",
            file=sys.stderr,
        )
    return 1 if failed else 0


def _start(config: ExperimentConfig, out: Path | None) -> tuple[Path, Federation]:
    """Check a new job and make its folder: the one asked for, or one that nobody else takes."""
    from eval.jobs import starting
    from secure_fl.simulation.folder import create_numbered

    if out is not None:
        return out, starting.start_job(config, out, starting.command_line())
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    federation = starting.check_job(config)
    folder = create_numbered(Path("runs") / f"{config.name}-{stamp}")
    starting.write_start(config, folder, starting.command_line(), federation)
    return folder, federation


def _groups() -> str:
    """The groups with their choices, for the help text."""
    from secure_fl.settings.config import GROUPS, choices

    return "".join(f"\n      {group}=" + "|".join(choices(group)) for group in GROUPS)
