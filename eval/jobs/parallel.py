"""Work side by side, by joblib: in processes of this machine, or on the workers of a cluster.

What is done elsewhere is handed over pickled, together with where modules of the person's own are
found, so that it can be read there whoever carries it.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from dataclasses import dataclass
from importlib.util import find_spec
from multiprocessing.spawn import import_main_path
from typing import Any, TypeVar

from joblib import Parallel, delayed, parallel_config
from joblib.externals.loky.process_executor import TerminatedWorkerError

from secure_fl.errors import InputError, NodeFailure, require
from secure_fl.imports import look_in

T = TypeVar("T")
R = TypeVar("R")

MAX_JOBS = 256
# Where work can be done, with the package that each needs.
PLACES = {"loky": "joblib", "dask": "distributed", "ray": "ray"}
# Loky replaces a worker that has grown, as with cells of images, and warns as if work were lost. It
# is not; of a worker that was killed loky raises an error.
_REPLACED = "A worker stopped while some jobs were given to the executor"
_KILLED = "a process side by side was killed, perhaps for lack of memory"
_GO_ON = "what is done is kept; the same command goes on, better with fewer jobs"


@dataclass(frozen=True)
class Workers:
    """Who works.

    Attributes:
        jobs: how many side by side; on a Dask cluster as many as it has workers, whatever stands
            here.
        parallel: "loky", processes of this machine; "dask" or "ray", workers of a cluster.
        cluster: address of the cluster; None: the Dask client that this program has, or what Ray
            finds or starts.
    """

    jobs: int = 1
    parallel: str = "loky"
    cluster: str | None = None

    def __post_init__(self) -> None:
        require(1 <= self.jobs <= MAX_JOBS, "jobs", f"from 1 to {MAX_JOBS}", self.jobs)
        require(self.parallel in PLACES, "parallel", f"one of {', '.join(PLACES)}", self.parallel)
        package = PLACES[self.parallel]
        if find_spec(package) is None:
            raise InputError(
                f"parallel={self.parallel} needs the package {package}: pip install {package}"
            )
        if self.parallel == "loky":
            require(self.cluster is None, "cluster", "left out with parallel=loky", self.cluster)

    @property
    def elsewhere(self) -> bool:
        """Whether work leaves this process even if there is a single piece of it."""
        return self.parallel != "loky"


@dataclass(frozen=True)
class _Parcel:
    """What a worker is handed.

    Attributes:
        content: pickled: what to call, and with what.
        folders: where modules of the person's own are found.
        script: the file that this program was started with, where `content` refers to it.
        parent: number of the process that a worker of this machine leaves with.
    """

    content: bytes
    folders: tuple[str, ...]
    script: str | None
    parent: int | None


def side_by_side(
    call: Callable[[T], R], pieces: Sequence[T], workers: Workers
) -> Iterator[tuple[int, R]]:
    """Index and result of each piece when it is done; of one at a time, in this process.

    An error of one ends the others; those under way on a cluster go on to their end there.

    Raises:
        InputError: no such cluster, or one whose workers have several threads.
        NodeFailure: a worker was killed.
        Exception: what `call` raised.
    """
    here = workers.parallel == "loky"
    if not pieces or (here and min(workers.jobs, len(pieces)) < 2):
        yield from ((i, call(piece)) for i, piece in enumerate(pieces))
        return
    parent = os.getpid() if here else None
    parcels = (delayed(_work)(i, _packed(call, piece, parent)) for i, piece in enumerate(pieces))
    jobs = min(workers.jobs, len(pieces)) if here else workers.jobs
    with _configured(workers):
        # One piece at a time, packed when a worker is free for it: each holds its data.
        run = Parallel(jobs, return_as="generator_unordered", batch_size=1)
        with closing(run(parcels)) as results:
            try:
                yield from results
            except TerminatedWorkerError as error:
                raise NodeFailure(f"{_KILLED}: {_GO_ON}") from error


def _packed(call: Callable[[T], R], piece: T, parent: int | None) -> _Parcel:
    content = pickle.dumps((call, piece))
    started: str | None = getattr(sys.modules["__main__"], "__file__", None)
    script = None
    if started is not None and b"__main__" in content:
        script = os.path.abspath(started)
    return _Parcel(content, (os.getcwd(),), script, parent)


_watched = threading.Event()


def _work(index: int, parcel: _Parcel) -> tuple[int, Any]:
    """Open a parcel at a worker and do what it says."""
    if parcel.parent is not None and not _watched.is_set():
        _watched.set()
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # its parent ends it
        threading.Thread(target=_leave_with, args=(parcel.parent,), daemon=True).start()
    look_in(parcel.folders)
    if parcel.script is not None:
        import_main_path(parcel.script)
    # Of the program that started this work, by joblib, which carries pickles itself: no file and no
    # run's folder gets here. On a cluster whoever reaches it is trusted as much (threat model).
    call, piece = pickle.loads(parcel.content)
    return index, call(piece)


def _leave_with(parent: int) -> None:
    """End this process when its parent has ended, however that went."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


def _configured(workers: Workers) -> AbstractContextManager[Any]:
    """joblib's settings for the time of the work."""
    if workers.parallel == "dask":
        return _dask(workers.cluster)
    if workers.parallel == "ray":
        return _ray(workers.cluster)
    warnings.filterwarnings("ignore", message=_REPLACED, module="joblib.externals.loky")
    return parallel_config("loky")


@contextmanager
def _dask(cluster: str | None) -> Iterator[None]:
    """Work on a Dask cluster.

    Raises:
        InputError: none is there, or its workers have several threads.
        NodeFailure: work that no worker survived.
    """
    from distributed import Client, KilledWorker, get_client

    from eval.jobs.dask_backend import ToldDask

    if cluster is None:
        try:
            held: AbstractContextManager[Any] = nullcontext(get_client())
        except ValueError as error:
            raise InputError(
                "cluster must be a Dask scheduler's address, as tcp://HOST:8786, or this program "
                "must have a client of one; got None"
            ) from error
    else:
        try:
            held = Client(cluster, set_as_default=False, timeout=10)
        except (OSError, ValueError) as error:
            raise InputError(f"cluster must be a Dask scheduler that answers: {error}") from error
    with held as client:
        several = {name: count for name, count in client.nthreads().items() if count != 1}
        # The number of threads of torch, and what runs beside a run, belong to a whole process.
        require(not several, "cluster", "of workers with one thread each", several)
        try:
            with parallel_config(ToldDask(client=client)):
                yield
        except KilledWorker as error:
            raise NodeFailure(f"{_KILLED} on the cluster: {_GO_ON}") from error


@contextmanager
def _ray(cluster: str | None) -> Iterator[None]:
    """Work on a Ray cluster."""
    import ray
    from ray.util.joblib import register_ray

    register_ray()
    began = not ray.is_initialized()
    if began:
        try:
            ray.init(address=cluster, log_to_driver=False)
        except (ConnectionError, ValueError) as error:
            raise InputError(f"cluster must be a Ray cluster that answers: {error}") from error
    try:
        with parallel_config("ray"):
            yield
    finally:
        if began:
            ray.shutdown()


def check_portable(objects: Iterable[Any]) -> None:
    """Refuse what another process could not be handed.

    Raises:
        InputError: it cannot be pickled, or its class is in a notebook or a terminal.
    """
    interactive = not hasattr(sys.modules["__main__"], "__file__")
    for thing in objects:
        place = f"{type(thing).__name__}, for jobs above 1,"
        if interactive and type(thing).__module__ == "__main__":
            raise InputError(f"{place} must stand in a file: other processes cannot see a notebook")
        try:
            pickle.dumps(thing)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(f"{place} must be one that can be pickled: {error}") from error
