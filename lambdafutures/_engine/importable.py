"""Modules that this process has and a fresh one would not find: they travel by value.

Such are modules loaded from a file by its path, made in memory, or found through a path entry that
was taken away again. A fresh process with the same `sys.path` asks the same finders for them.
"""

from __future__ import annotations

import sys

_checked: set[str] = set()


def send_by_value_if_lost(name: str | None) -> None:
    """Have cloudpickle send a module's functions and classes by value if no worker can import it.

    Args:
        name: The module's name, as `__module__` of what is to be sent.
    """
    if name is None or name in _checked:
        return
    _checked.add(name)
    module = sys.modules.get(name)
    if module is None or name in ("__main__", "__mp_main__") or _can_be_found(name):
        return
    import cloudpickle

    cloudpickle.register_pickle_by_value(module)


def _can_be_found(name: str) -> bool:
    path = None
    parts = name.split(".")
    for depth in range(1, len(parts) + 1):
        if not _is_found(".".join(parts[:depth]), path):
            return False
        package = sys.modules.get(".".join(parts[:depth]))
        path = getattr(package, "__path__", None)
    return True


def _is_found(name: str, path: object) -> bool:
    for finder in sys.meta_path:
        find = getattr(finder, "find_spec", None)
        try:
            if find is not None and find(name, path) is not None:
                return True
        except Exception:  # noqa: BLE001, S112 - a foreign finder's own trouble
            continue
    return False
