"""scikit-learn, and whatever else uses joblib: a backend of joblib's that has an executor."""

from typing import Any

from joblib import ParallelBackendBase, parallel_config, register_parallel_backend
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import GridSearchCV

from lambdafutures import LambdaPoolExecutor


class LambdaBackend(ParallelBackendBase):
    """Run joblib's batches on an executor, made for each `Parallel` or handed over.

    Args:
        executor: What to run them on; it stays open.
        options: Of `ParallelBackendBase`.
    """

    supports_retrieve_callback = True

    def __init__(self, executor: LambdaPoolExecutor | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._given = executor
        self._executor = executor

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        if n_jobs == 0:
            raise ValueError("n_jobs == 0 in Parallel has no meaning")
        if n_jobs is None or n_jobs > 0:
            return n_jobs or 1
        if self._executor is None:
            self._executor = LambdaPoolExecutor()
        return max(1, self._executor._max_workers + 1 + n_jobs)  # -1 is all of them

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: Any) -> int:
        self.parallel = parallel
        count = self.effective_n_jobs(n_jobs)
        self._executor = self._executor or LambdaPoolExecutor(count)
        return count

    def submit(self, func: Any, callback: Any = None) -> Any:
        assert self._executor is not None  # `configure` is called first
        future = self._executor.submit(func)
        if callback is not None:
            future.add_done_callback(callback)
        return future

    def retrieve_result_callback(self, future: Any) -> Any:
        return future.result()

    def abort_everything(self, ensure_ready: bool = True) -> None:
        self.terminate()
        if ensure_ready:
            self.configure(self.parallel.n_jobs, self.parallel)

    def terminate(self) -> None:
        if self._executor is not self._given and self._executor is not None:
            self._executor.shutdown(cancel_futures=True)
        self._executor = self._given


register_parallel_backend("lambdafutures", LambdaBackend)


def main() -> None:
    flowers, kinds = load_iris(return_X_y=True)
    forest = RandomForestClassifier(random_state=1)
    search = GridSearchCV(forest, {"n_estimators": [5, 10], "max_depth": [2, None]}, cv=3)
    with LambdaPoolExecutor() as ex, parallel_config("lambdafutures", executor=ex, n_jobs=-1):
        scores = search.fit(flowers, kinds).cv_results_["mean_test_score"]
    serial = search.fit(flowers, kinds).cv_results_["mean_test_score"]
    if (scores != serial).any():
        raise SystemExit(f"{scores}, but {serial} serially")
    print(f"the best of {len(scores)} forests is right in {max(scores):.1%}, as serially")


if __name__ == "__main__":
    main()
