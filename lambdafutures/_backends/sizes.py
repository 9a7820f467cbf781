"""The deployment's functions, of several sizes: which one runs an attempt, and which is larger."""

from __future__ import annotations

from lambdafutures.deployment import DEPLOY_COMMAND, Deployment


class Sizes:
    """Choose among the functions of a deployment.

    Args:
        deployment: Where things are.
        usual_mb: Memory of the function to use; by default the smallest.
        limit_mb: Memory that a call may use, in MiB, whatever its function has.

    Raises:
        ValueError: If the deployment has no function of that size.
    """

    def __init__(
        self, deployment: Deployment, usual_mb: int | None = None, limit_mb: int | None = None
    ) -> None:
        self._deployment = deployment
        self._usual_mb = usual_mb or min(deployment.functions, default=0)
        self._limit_mb = limit_mb
        self.function(None)

    def memory_mb(self, wanted_mb: int | None) -> int:
        """Return the memory of a function, in MiB.

        Args:
            wanted_mb: What was wished for; None for the usual one.
        """
        return wanted_mb or self._usual_mb

    def function(self, wanted_mb: int | None) -> str:
        """Return the name of a function.

        Args:
            wanted_mb: Its memory, in MiB; None for the usual one.

        Raises:
            ValueError: If there is none of that size.
        """
        functions = self._deployment.functions
        size_mb = self.memory_mb(wanted_mb)
        if size_mb not in functions:
            known = ", ".join(map(str, sorted(functions))) or "no function at all"
            raise ValueError(
                f"the deployment {self._deployment.name!r} has no function of {wanted_mb} MB, but "
                f"{known}: run `{DEPLOY_COMMAND} --memory {size_mb or 1769}`"
            )
        return functions[size_mb]

    def larger_mb(self, wanted_mb: int | None) -> int | None:
        """Return the memory of the next larger function, in MiB; None if it would be no help.

        Args:
            wanted_mb: Memory of the function that was too small; None for the usual one.
        """
        size_mb = self.memory_mb(wanted_mb)
        if self._limit_mb is not None and self._limit_mb <= size_mb:
            return None  # it was the limit that was passed, and it holds in larger ones, too
        return min((each for each in self._deployment.functions if each > size_mb), default=None)
