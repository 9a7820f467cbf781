"""What to do about a module that this worker has not."""

from __future__ import annotations


def advise(error: BaseException) -> None:
    """Note beside a failed import what mends it; nothing beside any other exception.

    Args:
        error: What a call raised.
    """
    if isinstance(error, ModuleNotFoundError) and error.name:
        error.add_note(
            f"The worker has no module {error.name!r}. If it belongs to a package, name that in "
            "LambdaPoolExecutor(requirements=[...]) or deploy it with `lambdafutures deploy "
            "--requirements FILE`; if it is your own, name it in modules=[...]."
        )
