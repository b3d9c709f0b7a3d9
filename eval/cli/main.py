"""The command line: `secure-fl run | list | compare | report RUN | audit RUN | prepare`.

Exit status: 0 done, 1 a failure or an audit that found something, 2 bad input, 3 an audit that
found nothing but could not compare everything, 130 interrupted.
Errors are one line on stderr; --debug shows where they came from.
"""

from __future__ import annotations

import argparse
import os
import re
import shlex
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn, TextIO, cast

from eval.bench import ledger as bench_ledger
from eval.bench import mpc as bench_mpc
from eval.bench import rules as bench_rules
from eval.bench import training as bench_training
from eval.cli import matrix as cli_matrix
from eval.cli.console import Outliving, print_anywhere, quoted, shown
from ledger.files import printable

if TYPE_CHECKING:
    from secure_fl.federation import Federation
    from secure_fl.settings.schema import ExperimentConfig

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130
# As `pyproject.toml` names it.
DISTRIBUTION = "secure-fl-crypten"

RUN_HELP = """\
settings:
  group=NAME      choose a file of a group: {groups}
  attack=NAME     this attack alone; attack.params.KEY=VALUE sets its parameters.
                  NAME may be module:Class, an attack of your own in the current directory
  defence=NAME    this defence alone; NAME may also be a rule (secure-fl list), or
                  module:function, a rule of your own; defence.rule= takes the same
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


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = _parser()
    options = parser.parse_args(argv)
    print_anywhere()
    try:
        with _polite_kills():
            return int(options.command(options))
    except KeyboardInterrupt:
        kept = "; finished cells are kept" if options.command is run_command else ""
        print(f"secure-fl: interrupted{kept}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except Exception as error:
        status = _status(error)
        if status is None or options.debug:
            traceback.print_exc()
            return FAILED if status is None else status
        print(f"secure-fl: {printable(_words(error))}", file=sys.stderr)
        return status


def _status(error: Exception) -> int | None:
    """Exit status of an error raised on purpose; None for one that is a defect."""
    from ledger.errors import LedgerError
    from secure_fl.errors import ConfigError, InputError, SecureFLError

    if isinstance(error, ConfigError | InputError):
        return BAD_INPUT
    expected = SecureFLError | LedgerError | OSError | MemoryError
    return FAILED if isinstance(error, expected) or _lacks_memory(error) else None


def _lacks_memory(error: Exception) -> bool:
    """Whether this process could not allocate what was asked; torch says so in its words alone."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def _words(error: Exception) -> str:
    """An error on one line."""
    if _lacks_memory(error):
        asked = re.search(r"tried to allocate (\d+) bytes", str(error))
        size = f" for {int(asked[1]) / 2**30:,.1f} GiB at once" if asked else ""
        return f"there is not enough memory{size}: choose smaller sizes"
    if isinstance(error, OSError) and error.strerror is not None:
        place = error.filename2 or error.filename
        return f"{place}: {error.strerror}" if place is not None else error.strerror
    return " ".join(str(error).split("\n"))


@contextmanager
def _polite_kills() -> Iterator[None]:
    """Treat a polite kill like Ctrl-C inside: leave no process and no half-written cell.

    Signals reach the main thread alone; in another one nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, _terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _terminate(number: int, frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


class _Parser(argparse.ArgumentParser):
    """Says what is wrong with a command line in two lines, with the nearest name for a typo."""

    def error(self, message: str) -> NoReturn:
        """Print and exit with status 2."""
        from secure_fl.errors import near

        unknown = re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message)
        if unknown is not None:
            message += near(unknown[1], re.findall(r"'([^']*)'", unknown[2]))
        lost = re.match(r"unrecognized arguments: (--?[\w-]+)", message)
        if lost is not None:
            message += near(lost[1], self._options())
        self.exit(BAD_INPUT, f"{self.prog}: {message}\nusage: {self.prog} --help\n")

    def _options(self) -> list[str]:
        """Names of all options, of its commands too."""
        names = [name for action in self._actions for name in action.option_strings]
        for action in self._actions:
            if isinstance(action.choices, dict):
                for command in action.choices.values():
                    names += command._options()
        return names


class _Version(argparse.Action):
    """Prints the version of the installed distribution."""

    def __init__(self, option_strings: Sequence[str], dest: str, **options: Any) -> None:
        super().__init__(option_strings, dest, nargs=0, **options)

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> NoReturn:
        """Print and exit."""
        print(f"secure-fl {metadata.version(DISTRIBUTION)}")
        parser.exit(OK)


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="secure-fl",
        description="Federated learning under attack, aggregated under secure multi-party "
        "computation, with reputations on a chain.",
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.set_defaults(debug=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    debug = _Parser(add_help=False)
    debug.add_argument("--debug", action="store_true", help="show the traceback of an error")
    allow = _Parser(add_help=False)
    allow.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="MODULE:NAME",
        help="code of your own that may be imported: a run's folder cannot ask for it by itself",
    )

    run = commands.add_parser(
        "run",
        parents=[debug, allow],
        help="run an experiment",
        description="Run an experiment: every defence against every attack.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=RUN_HELP.replace("{groups}", _groups()),
    )
    run.add_argument("settings", nargs="*", metavar="SETTING", help="group=NAME or KEY=VALUE")
    run.add_argument("--quick", action="store_true", help="the smaller main job (experiment=quick)")
    run.add_argument("--out", type=Path, metavar="DIR", help="new run folder (default: runs/...)")
    run.add_argument("--resume", type=Path, metavar="RUN", help="complete an interrupted job")
    run.set_defaults(command=run_command)

    listing = commands.add_parser(
        "list", parents=[debug], help="attacks, defences, rules, data sets, models, experiments"
    )
    listing.set_defaults(command=list_command)

    prepare = commands.add_parser(
        "prepare",
        parents=[debug],
        help="read a data set of your own files once and keep it as one file for data.path",
    )
    prepare.add_argument("data", metavar="DATA", help="data set, e.g. mimic3")
    prepare.add_argument("source", type=Path, metavar="FOLDER", help="its official files")
    prepare.add_argument("target", type=Path, metavar="FILE.npz", help="new file to write")
    prepare.set_defaults(command=prepare_command)

    compare = commands.add_parser(
        "compare",
        parents=[debug],
        help="one rule's result from the three backends, side by side",
    )
    compare.add_argument(
        "--rule", default="median", help="rule, or module:function of yours (default: median)"
    )
    compare.add_argument("--hospitals", type=int, default=7, metavar="N")
    compare.add_argument("--dim", type=int, default=5, metavar="D")
    compare.add_argument("--seed", type=int, default=0)
    compare.add_argument("--nodes", type=int, default=2, help="computing nodes (default: 2)")
    compare.set_defaults(command=compare_command)

    report = commands.add_parser(
        "report", parents=[debug], help="draw a run's figures and HTML report again"
    )
    report.add_argument("run", type=Path, metavar="RUN")
    report.set_defaults(command=report_command)

    keys = commands.add_parser(
        "keys",
        parents=[debug],
        help="make keys and certificates for nodes and dealer",
        description="Make an authority and a certificate each for nodes, dealer and coordinator; "
        "use them with defence.keys=FOLDER. Without, a run makes fresh ones for itself.",
    )
    keys.add_argument("folder", type=Path, metavar="FOLDER", help="new folder")
    keys.add_argument("--nodes", type=int, default=2, help="computing nodes (default: 2)")
    keys.add_argument("--days", type=int, default=365, help="validity (default: 365)")
    keys.set_defaults(command=keys_command)

    bench = commands.add_parser("bench", help="measure the cost of MPC, ledger, rules or training")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    for kind, module, line in (
        ("mpc", bench_mpc, "a rule between computing nodes"),
        ("ledger", bench_ledger, "a round on the ledger"),
        ("rules", bench_rules, "rules in the clear, beside others'"),
        ("training", bench_training, "local training: batched, a module, and a loop"),
    ):
        one = kinds.add_parser(kind, parents=[debug], help=line, description=f"Measure {line}.")
        module.add_arguments(one)
        one.set_defaults(command=module.command)

    matrix = commands.add_parser(
        "matrix",
        parents=[debug, allow],
        help="every attack against every rule, as heat maps",
        description="Run every attack against every rule in the clear, with several seeds. A "
        "matrix that was interrupted goes on where the same command is given again.",
    )
    cli_matrix.add_arguments(matrix)
    matrix.set_defaults(command=cli_matrix.command)

    audit = commands.add_parser(
        "audit",
        parents=[debug, allow],
        help="execute a run's chains again and check every file against them",
        description="Execute a run's chains again and compare every file with them, with the "
        "settings, and with what models and data give.",
        epilog="exit status: 0 PASSED, 1 FAILED, 2 no run, 3 INCOMPLETE (all that was compared "
        "holds; what was not is named, with the reason)",
    )
    audit.add_argument("run", type=Path, metavar="RUN")
    audit.add_argument(
        "--head",
        type=_head,
        metavar="0x...",
        help="head that the run printed: excludes a folder that was made anew as a whole",
    )
    audit.add_argument(
        "--no-measure", action="store_true", help="do not measure the models on the data again"
    )
    audit.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="your data, for a run with data.path: an audit follows no path that a folder names",
    )
    audit.add_argument("--verbose", action="store_true", help="tell what each chain recorded")
    audit.set_defaults(command=audit_command)
    return parser


def _head(text: str) -> str:
    """A block's hash as typed."""
    if re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text) is None:
        raise argparse.ArgumentTypeError(f"must be 64 hexadecimal digits; got {text!r}")
    return text


def _groups() -> str:
    """The groups with their choices, for the help text."""
    from secure_fl.settings.config import GROUPS, choices

    return "".join(f"\n      {group}=" + "|".join(choices(group)) for group in GROUPS)


def run_command(options: argparse.Namespace) -> int:
    """Run or resume a job, then print its table and write its report."""
    from rich.console import Console

    from eval.jobs import grid
    from eval.jobs.manifest import job_head
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
        config = grid.resume_job(folder, options.allow)
        federation = prepare(config)
    else:
        quick = ["experiment=quick"] if options.quick else []
        config = load_config([*quick, *options.settings], options.allow)
        folder, federation = _start(config, options.out)
    console = Console()
    if not console.is_terminal:
        note = f"secure-fl: nobody reads any more; the job goes on, results in {shown(folder)}"
        kept = cast("TextIO", Outliving(sys.stdout, note))
        console = Console(file=kept, width=110)  # wide enough for every table
    cells = len(grid.plan(config))
    plain: dict[str, Any] = {"highlight": False, "markup": False, "soft_wrap": True}
    console.print(f"{config.name}: {cells} cells, results in {shown(folder)}", **plain)
    if console.is_terminal:
        with LiveView(console, cells) as view:
            rows = grid.run_job(config, federation, folder, view)
    else:
        rows = grid.run_job(config, federation, folder, PlainLines(console, cells))
    failed = grid.failures(folder)
    # What this command permitted the next ones must be told again.
    allowed = "".join(f" --allow {shlex.quote(name)}" for name in config.own_names)
    if rows:
        report = write_report(folder)  # before anything about it is printed
        console.print(console_table(rows), crop=False)
        audit = f"audit:  secure-fl audit {quoted(folder)}{allowed}"
        if config.data.path is not None:
            audit += f" --data {quoted(Path(config.data.path))}"
        console.print(f"report: {shown(report)}\n{audit}\nhead:   {job_head(folder)}", **plain)
    if failed:
        again = f"secure-fl run --resume {quoted(folder)}{allowed}"
        told = printable("; ".join(f"{each['cell']}: {each['reason']}" for each in failed))
        print(
            f"secure-fl: {len(failed)} of {cells} cells failed ({again} tries them again): {told}",
            file=sys.stderr,
        )
    return FAILED if failed else OK


def _start(config: ExperimentConfig, out: Path | None) -> tuple[Path, Federation]:
    """Check a new job and make its folder: the one asked for, or one that nobody else takes."""
    from eval.jobs import grid
    from secure_fl.simulation.folder import create_numbered

    if out is not None:
        return out, grid.start_job(config, out, grid.command_line())
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    federation = grid.check_job(config)
    folder = create_numbered(Path("runs") / f"{config.name}-{stamp}")
    grid.write_start(config, folder, grid.command_line(), federation)
    return folder, federation


def list_command(options: argparse.Namespace) -> int:
    """Print every name that a setting can take, with one line each."""
    import attacks
    from secure_fl import aggregation, data, models
    from secure_fl.descriptions import first_line
    from secure_fl.settings.config import presets

    sections = {
        "attacks (attack=)": {n: first_line(attacks.find(n)) for n in attacks.names()},
        "defences (defence=)": presets("defence"),
        "rules (defence= or defence.rule=)": {
            n: aggregation.describe_rule(n) for n in aggregation.rule_names()
        },
        "data sets (data=)": {n: data.describe(n) for n in data.names()},
        "models (model=)": {n: models.describe(n) for n in models.names()},
        "experiments (experiment=)": presets("experiment"),
    }
    for title, names in sections.items():
        print(title)
        width = max(len(name) for name in names)
        for name, line in names.items():
            print(f"  {name:<{width}}  {line}")
        print()
    return OK


def prepare_command(options: argparse.Namespace) -> int:
    """Read a data set from its official files and keep it as one file."""
    from secure_fl import data
    from secure_fl.data.prepared import keep, refuse_target
    from secure_fl.errors import InputError

    if data.shipped(options.data):
        raise InputError(
            f"{options.data} is in the package and needs no preparation: "
            f"secure-fl run data={options.data}"
        )
    refuse_target(options.target)  # before reading, which may take long
    dataset = data.load(options.data, options.source)
    keep(dataset, options.target)
    counts = ", ".join(
        f"{int((dataset.y == i).sum())} {name}" for i, name in enumerate(dataset.class_names)
    )
    print(f"{len(dataset.y)} rows ({counts}) in {shown(options.target)}")
    path = shlex.quote(f"data.path={options.target}")
    print(f"run: secure-fl run data={options.data} {path}")
    return OK


def compare_command(options: argparse.Namespace) -> int:
    """Print one rule's result on random updates from the three backends, side by side."""
    from rich.console import Console

    from eval.bench.compare import compare, comparison_table

    results = compare(
        options.rule, options.hospitals, options.dim, seed=options.seed, nodes=options.nodes
    )
    Console().print(comparison_table(options.rule, results))
    return OK


def keys_command(options: argparse.Namespace) -> int:
    """Make keys and certificates; print the files."""
    from secure_fl.mpc.tls import make_keys

    for path in make_keys(options.folder, options.nodes, options.days):
        print(shown(path))
    return OK


def report_command(options: argparse.Namespace) -> int:
    """Draw the figures and the report of a finished run again."""
    from eval.report.report import write_report

    print(shown(write_report(options.run)))
    return OK


def audit_command(options: argparse.Namespace) -> int:
    """Check a run folder; its `Outcome` is the exit status."""
    from eval.audit.run import audit_run, describe

    report = audit_run(
        options.run,
        head=options.head,
        measures=not options.no_measure,
        data=options.data,
        processes=os.cpu_count() or 1,
        allow=options.allow,
        tell=lambda line: print(printable(line), file=sys.stderr, flush=True),
    )
    print(describe(report, verbose=options.verbose))
    return int(report.outcome.value)


if __name__ == "__main__":
    sys.exit(main())
