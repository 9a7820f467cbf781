"""Bundles in the store: uploaded once, by whoever is first."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from lambdafutures._backends.base import Store
from lambdafutures._wire import keys
from lambdafutures._wire.bundle import Bundle


class StoredBundle(NamedTuple):
    """Describe a bundle in the store.

    Args:
        name: Its name.
        size_bytes: Length of its parts.
        about: What is said of it; None for modules of a session's own.
    """

    name: str
    size_bytes: int
    about: Mapping[str, Any] | None


async def put_bundle(
    store: Store,
    prefix: str,
    bundle: Bundle,
    *,
    anew: bool = False,
    progress: Callable[[float], None] | None = None,
) -> bool:
    """Store a bundle unless it is there; return whether anything was uploaded.

    The last part is stored last, so that where it is, all is.

    Args:
        store: Where to.
        prefix: Prefix of the deployment's keys.
        bundle: The bundle, with what reads its parts.
        anew: Store it in any case.
        progress: Told which share of it is stored, from 0 to 1.

    Raises:
        BackendError: If the store refuses it.
    """
    if bundle.read is None:
        return False  # whoever made it has stored it; what is gone, its worker names
    if not bundle.parts:
        return False  # all that was asked for is in every worker
    *others, last = range(len(bundle.parts))
    if not anew:
        found = await store.head(keys.part_key(prefix, bundle.name, last))
        if found is not None and found.size_bytes == bundle.parts[last][1]:
            return False
    if bundle.about is not None:
        about = json.dumps(bundle.about, indent=1).encode()
        await store.put(keys.about_key(prefix, bundle.name), about)
    # One after the other: a part is megabytes, which the store sends in parts of its own.
    stored_bytes = 0
    for number in (*others, last):
        part = await asyncio.to_thread(_read, bundle, number)
        await store.put(keys.part_key(prefix, bundle.name, number), part)
        stored_bytes += len(part)
        if progress is not None:
            progress(stored_bytes / bundle.packed_bytes)
    return True


async def list_bundles(store: Store, prefix: str) -> list[StoredBundle]:
    """Return what bundles the store has.

    Args:
        store: Where to look.
        prefix: Prefix of the deployment's keys.

    Raises:
        BackendError: If the store refuses it.
    """
    sizes: Counter[str] = Counter()
    described: dict[str, str] = {}
    start = len(keys.bundles_prefix(prefix))
    async for page in store.list(keys.bundles_prefix(prefix)):
        for found in page:
            name, _, part = found.key[start:].partition("/")
            if part == keys.ABOUT:
                described[name] = found.key
            else:
                sizes[name] += found.size_bytes
    return [
        StoredBundle(
            name,
            sizes[name],
            json.loads(await store.get(described[name])) if name in described else None,
        )
        for name in sorted(sizes)
    ]


async def remove_bundle(store: Store, prefix: str, name: str) -> None:
    """Remove a bundle from the store; workers that have it keep it.

    Args:
        store: Where it is.
        prefix: Prefix of the deployment's keys.
        name: Its name.

    Raises:
        BackendError: If the store refuses it.
    """
    async for page in store.list(f"{keys.bundles_prefix(prefix)}{name}/"):
        await store.delete([found.key for found in page])


def _read(bundle: Bundle, number: int) -> bytes:
    if bundle.read is None:
        raise TypeError(f"bundle {bundle.name} was not made by this process")
    return bundle.read(number)
