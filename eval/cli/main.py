"""The command line: `secure-fl COMMAND`; each command is a module beside this one.

Exit status: 0 done, 1 a failure or an audit that found something, 2 bad input, 3 an audit that
found nothing but could not compare everything, 130 interrupted.
Errors are one line on stderr; --debug shows where they came from.
"""

from __future__ import annotations

import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import NoReturn

from eval.cli import matrix, paper, run, sweep
from eval.cli.console import print_anywhere
from eval.cli.parser import build_parser
from eval.cli.status import FAILED, INTERRUPTED, status_of, words
from ledger.files import printable


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit status."""
    parser = build_parser()
    options = parser.parse_args(argv)
    print_anywhere()
    try:
        with _polite_kills():
            return int(options.command(options))
    except KeyboardInterrupt:
        kept = {
            run.command: "; finished cells are kept",
            **dict.fromkeys(
                (sweep.command, matrix.command, paper.command),
                "; finished cells are kept, and the same command goes on",
            ),
        }
        print(f"secure-fl: interrupted{kept.get(options.command, '')}", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        return FAILED
    except Exception as error:
        status = status_of(error)
        if status is None or options.debug:
            traceback.print_exc()
            return FAILED if status is None else status
        print(f"secure-fl: {printable(words(error))}", file=sys.stderr)
        return status


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


if __name__ == "__main__":
    sys.exit(main())
