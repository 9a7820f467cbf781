"""What travelled comes first on the import path, in the order that the client gave it."""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_travelled: list[str] = []


def lead_with(folders: Sequence[str]) -> None:
    """Put folders in front of the import path, and keep those that were put there before.

    Args:
        folders: Where bundles are unpacked.
    """
    if all(folder in _travelled for folder in folders):
        return
    kept = [folder for folder in _travelled if folder not in folders]
    rest = [entry for entry in sys.path if entry not in _travelled]
    _travelled[:] = [*folders, *kept]
    sys.path[:] = [*_travelled, *rest]
