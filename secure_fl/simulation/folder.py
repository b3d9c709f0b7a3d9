"""Files of a run: created once, each cell complete or absent, every byte reproducible to check.

Layout, below the folder of the run:
    config.yaml environment.json summary.json manifest.json chain.jsonl report.html figures/
    cells/<cell>/rounds.jsonl openings.jsonl closing.json cell.json [chain.jsonl]
                 models/round-000.npy ... models/final.npy [models/refused-001.npy ...]
                 [triggers/round-001.bin ...]

A cell is written below a temporary name and renamed when it is complete. Models are NumPy files
of float32 without pickled objects; their SHA-256 is the model hash on the chain. A model that the
contract refused, by the validators' figures, lies beside the one that stands. An attack whose
trigger changes over rounds leaves what it remembers after each, as data (`attacks.memory.pack`).
"""

from __future__ import annotations

import io
import os
import shlex
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from attacks.memory import Memory, unpack
from ledger.files import MAX_BYTES, printable, read_plain
from secure_fl.errors import InputError
from secure_fl.files import PARTIAL, Row, canonical_json, sha256

# Most files of a run, and folders below one another; a cell has a model a round.
MAX_FILES, MAX_LEVELS = 1_000_000, 8
_NUMPY_VERSION = (1, 0)
# Keys of a row that differ between two runs of the same settings.
TIMINGS = ("seconds", "ledger_ms")
# In a row of `rounds.jsonl`, where the trigger changes over rounds: SHA-256 of its file.
TRIGGER_HASH = "trigger_sha256"


def model_bytes(model: torch.Tensor) -> bytes:
    """The NumPy file of a parameter vector (d,), as float32 little-endian."""
    buffer = io.BytesIO()
    array = model.detach().cpu().numpy().astype("<f4")
    np.lib.format.write_array(buffer, array, version=_NUMPY_VERSION, allow_pickle=False)
    return buffer.getvalue()


def read_model(path: Path) -> torch.Tensor:
    """Read a parameter vector written by `model_bytes`: float32 (d,)."""
    try:
        file = io.BytesIO(read_plain(path))
        if np.lib.format.read_magic(file) != _NUMPY_VERSION:
            raise ValueError("another version of NumPy's files")
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    content = file.read()
    # Held to the bytes that are there, before anything of the stated size is made.
    if dtype != np.dtype("<f4") or len(shape) != 1 or 4 * shape[0] != len(content):
        stated = f"{dtype} {shape} and {len(content)} bytes"
        raise InputError(f"{path} must hold float32 (d,); got {stated}")
    return torch.from_numpy(np.frombuffer(content, "<f4").astype(np.float32))


def records_content(rows: Iterable[Row], openings: Iterable[Row]) -> bytes:
    """All rounds and openings of a cell as canonical JSON; nodes read it before they sign.

    Timings are left out, so that two identical runs have identical chains.
    """
    timeless = [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
    return canonical_json([timeless, list(openings)]).encode()


def records_digest(rows: Iterable[Row], openings: Iterable[Row]) -> str:
    """SHA-256 over all rounds and openings of a cell: the last entry of its chain."""
    return sha256(records_content(rows, openings))


def model_path(cell: Path, round_number: int) -> Path:
    """Where a cell keeps the model after a round; round 0 is the initial model."""
    return cell / "models" / f"round-{round_number:03d}.npy"


def refused_path(cell: Path, entry: int) -> Path:
    """Where a cell keeps the model proposed in a round, or at the closing, that was rolled back."""
    return cell / "models" / f"refused-{entry:03d}.npy"


def trigger_path(cell: Path, round_number: int) -> Path:
    """Where a cell keeps what an attack with a moving trigger remembers after a round."""
    return cell / "triggers" / f"round-{round_number:03d}.bin"


def read_trigger(cell: Path, round_number: int) -> Memory:
    """What such an attack remembered after a round.

    Raises:
        InputError: the file is missing or is no memory.
    """
    path = trigger_path(cell, round_number)
    try:
        return unpack(read_plain(path))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from error


def check_folder(run: Path) -> None:
    """Refuse a run's folder, which may come from anybody, before anything in it is read.

    It holds plain files and folders alone: a link would lead reading, or the report, elsewhere; a
    pipe would be waited for. Names are printable. A folder that is not there passes: whoever reads
    it says so.

    Raises:
        InputError: naming the first place that is something else.
    """
    waiting, files = [(run, 0)] if run.is_dir() else [], 0
    while waiting:
        folder, level = waiting.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                files += 1
                status = entry.stat(follow_symlinks=False)
                fault = _fault(entry.name, status.st_mode, status.st_size)
                if fault is None and files > MAX_FILES:
                    fault = f"is one of more than {MAX_FILES:,} files"
                if fault is None and level > MAX_LEVELS:
                    fault = f"lies below more than {MAX_LEVELS} folders"
                if fault is not None:
                    raise InputError(f"{printable(entry.path)} {fault}; nothing of the run is read")
                if stat.S_ISDIR(status.st_mode):
                    waiting.append((Path(entry.path), level + 1))


def _fault(name: str, mode: int, size: int) -> str | None:
    """Why an entry of a folder does not belong into a run; None if it may."""
    if not name.isprintable():
        return "has a name with characters that cannot be printed"
    if stat.S_ISLNK(mode):
        return "is a symbolic link"
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return "is no plain file"
    if stat.S_ISREG(mode) and size > MAX_BYTES:
        return f"is longer than {MAX_BYTES:,} bytes"
    return None


def holds_run(folder: Path) -> bool:
    """Whether a run was started in a folder."""
    return (folder / "config.yaml").exists() and (folder / "cells").is_dir()


def refuse_existing(folder: Path) -> None:
    """Refuse a folder for a new run if it exists already.

    Raises:
        InputError: what it is, and what to do.
    """
    if holds_run(folder):
        raise InputError(
            f"run folder {folder} exists already: choose another with --out, "
            f"or complete it with --resume {shlex.quote(str(folder))}"
        )
    if folder.exists() or folder.is_symlink():
        raise InputError(
            f"run folder {folder} exists already: choose another with --out (it holds no run)"
        )


def create_run(folder: Path) -> None:
    """Create the folder of a new run.

    Raises:
        InputError: it exists, and is not touched, or it cannot be made there.
    """
    refuse_existing(folder)
    try:
        (folder / "cells").mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot make run folder {folder}: {error.strerror}") from error


def create_numbered(folder: Path) -> Path:
    """Create the folder of a new run under the first free name: `folder`, `folder-2` and so on.

    Of several processes that try at the same moment each gets a folder of its own.

    Raises:
        InputError: none can be made there.
    """
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = _first_free(folder)
        (place / "cells").mkdir()
    except OSError as error:
        raise InputError(f"cannot make run folder {folder}: {error.strerror}") from error
    return place


def _first_free(folder: Path) -> Path:
    number, place = 1, folder
    while True:
        try:
            place.mkdir()
            return place
        except FileExistsError:
            number += 1
            place = folder.with_name(f"{folder.name}-{number}")


@contextmanager
def writing_cell(run: Path, name: str) -> Iterator[Path]:
    """Yield a temporary folder that becomes `cells/<name>` on success and vanishes on failure.

    Raises:
        FileNotFoundError: the run's folder is there no more; none is made in its place.
    """
    final = run / "cells" / name
    if final.exists():
        raise InputError(f"cell {final} exists already")
    partial = final.with_name(f".{name}{PARTIAL}")
    if partial.exists():  # left by a killed process
        shutil.rmtree(partial)
    try:
        partial.mkdir()
    except FileNotFoundError as error:
        gone = "the run's folder was moved or removed while the job ran"
        raise FileNotFoundError(error.errno, gone, str(run)) from error
    (partial / "models").mkdir()
    try:
        yield partial
        os.replace(partial, final)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
