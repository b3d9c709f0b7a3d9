"""joblib's Dask backend, which says so where work takes its workers down with it.

joblib 1.6 waits for ever for a piece that Dask gave up, as it does after the fourth worker died of
it: such an error reaches the future, but not the callback that joblib listens to.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from joblib._dask import DaskDistributedBackend


class ToldDask(DaskDistributedBackend):
    """As joblib's; an error of the cluster itself is raised where results are awaited."""

    def submit(self, func: Any, callback: Callable[[Any], None]) -> Future[Any]:
        """Hand in a piece; the callback is told of its result, or of the cluster's error."""
        future: Future[Any] = super().submit(func, callback)

        def told(done: Future[Any]) -> None:
            error = done.exception()
            if error is not None:
                callback(error)

        future.add_done_callback(told)
        return future

    def retrieve_result_callback(self, out: Any) -> Any:
        """What the callback was told: a result, or an error that is raised here."""
        if isinstance(out, BaseException):
            raise out
        return super().retrieve_result_callback(out)
