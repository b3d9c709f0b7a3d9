"""All commands and their options."""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from importlib import metadata
from types import ModuleType
from typing import Any, NamedTuple, NoReturn

from eval.bench import ledger as bench_ledger
from eval.bench import mpc as bench_mpc
from eval.bench import rules as bench_rules
from eval.bench import simulation as bench_simulation
from eval.bench import training as bench_training
from eval.cli import (
    audit,
    compare,
    keys,
    listing,
    matrix,
    new,
    paper,
    prepare,
    privacy,
    report,
    run,
    sweep,
)
from eval.cli.status import BAD_INPUT, OK

# As `pyproject.toml` names it.
DISTRIBUTION = "secure-fl-crypten"


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
            owners = self._owners(lost[1])
            of = f" (it is of {', '.join(owners)})" if owners else near(lost[1], self._options())
            message += of
        elif re.match(r"unrecognized arguments: '?[\w.]+=", message):
            message += " (settings come before options)"
        self.exit(BAD_INPUT, f"{self.prog}: {message}\nusage: {self.prog} --help\n")

    def _owners(self, option: str) -> list[str]:
        """Commands that have an option of this very name."""
        owners = [self.prog] if option in self._option_string_actions else []
        for command in self._below():
            owners += command._owners(option)
        return owners

    def _below(self) -> list[_Parser]:
        """Parsers of its commands."""
        choices = [each.choices for each in self._actions if isinstance(each.choices, dict)]
        return [command for named in choices for command in named.values()]

    def tell_defaults(self) -> None:
        """Let the help of every option with a default name it, unless its own words do."""
        for action in self._actions:
            plain = not isinstance(action.default, bool) and action.default != argparse.SUPPRESS
            if plain and action.default and "default" not in (action.help or ""):
                listed = isinstance(action.default, list)
                told = " ".join(map(str, action.default)) if listed else action.default
                action.help = f"{action.help or ''} (default: {told})".strip()

    def _options(self) -> list[str]:
        """Names of all options, of its commands too."""
        names = [name for action in self._actions for name in action.option_strings]
        for command in self._below():
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


class _Command(NamedTuple):
    """One command: its module has `add_arguments(parser)` and `command(options)`."""

    name: str
    module: ModuleType
    line: str
    imports: bool = False  # whether settings may name code of the user's own


COMMANDS = (
    _Command("run", run, "run an experiment", imports=True),
    _Command("list", listing, "attacks, defences, rules, data sets, models, experiments"),
    _Command("new", new, "an attack, a rule, a data set or a model to start from, with its test"),
    _Command(
        "prepare",
        prepare,
        "read a data set of your own files once and keep it as one file for data.path",
    ),
    _Command("compare", compare, "runs over equal seeds; or one rule's three backends"),
    _Command("report", report, "draw a run's figures and HTML report again"),
    _Command("keys", keys, "make keys and certificates for nodes and dealer"),
    _Command("privacy", privacy, "what attackers read out of updates, aggregates and models"),
    _Command("sweep", sweep, "any settings, attacks and defences, side by side", imports=True),
    _Command("paper", paper, "the paper's tables and figures over seeds, beside its own numbers"),
    _Command("matrix", matrix, "every attack against every rule, as heat maps", imports=True),
    _Command(
        "audit",
        audit,
        "execute a run's chains again and check every file against them",
        imports=True,
    ),
)
BENCHMARKS = (
    _Command("mpc", bench_mpc, "a rule between computing nodes"),
    _Command("ledger", bench_ledger, "a round on the ledger"),
    _Command("rules", bench_rules, "rules in the clear, beside others'"),
    _Command("training", bench_training, "local training: batched, a module, and a loop"),
    _Command("simulation", bench_simulation, "whole rounds, beside a loop's and Flower's"),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; its options name the function to call, `command`."""
    parser = _Parser(
        prog="secure-fl",
        description="Federated learning under attack, aggregated under secure multi-party "
        "computation, with reputations on a chain.",
    )
    parser.add_argument("--version", action=_Version, help="show the version and exit")
    parser.set_defaults(debug=False)
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
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for each in COMMANDS:
        parents = [debug, allow] if each.imports else [debug]
        one = commands.add_parser(each.name, parents=parents, help=each.line)
        each.module.add_arguments(one)
        one.tell_defaults()
        one.set_defaults(command=each.module.command)
    bench = commands.add_parser("bench", help="measure the cost of MPC, ledger, rules or training")
    kinds = bench.add_subparsers(required=True, metavar="WHAT")
    for each in BENCHMARKS:
        told = f"Measure {each.line}."
        one = kinds.add_parser(each.name, parents=[debug], help=each.line, description=told)
        each.module.add_arguments(one)
        one.tell_defaults()
        one.set_defaults(command=each.module.command)
    return parser
