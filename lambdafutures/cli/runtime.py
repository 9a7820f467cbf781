"""`lambdafutures runtime`: packages that travel to workers, built, shown and removed."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Callable, Coroutine
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from lambdafutures.cli import common
from lambdafutures.deployment import DEFAULT_NAME, DEPLOYMENT_VARIABLE

if TYPE_CHECKING:
    from lambdafutures._backends.bundle_store import StoredBundle
    from lambdafutures._backends.s3_store import S3Store
    from lambdafutures._environment.runtimes import Runtime
    from lambdafutures._environment.target import Target
    from lambdafutures.deployment import Deployment

T = TypeVar("T")

# Of a name, so much is shown and suffices: a million runtimes would have to be kept before two of
# them were likely to share it.
SHOWN = 12


def add_parser(verbs: Any) -> None:
    """Add the verb to the command.

    Args:
        verbs: The command's subparsers.
    """
    parser = verbs.add_parser(
        "runtime",
        help="build, list or remove packages that travel to workers",
        description="Packages that `LambdaPoolExecutor(requirements=...)` takes to workers are "
        "built by themselves at first use. These commands build them in advance, show what there "
        "is on this machine and in the deployment's bucket, and remove it.",
    )
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    build = actions.add_parser(
        "build",
        help="build packages and upload them",
        description="Build the packages of some requirements for the deployment's workers, and "
        "upload them to its bucket. What was built before is not built again.",
    )
    build.add_argument("requirements", nargs="*", metavar="REQUIREMENT", help="such as numpy>=2")
    build.add_argument(
        "-r", "--file", metavar="FILE", help="a requirements.txt or pyproject.toml instead"
    )
    build.add_argument(
        "--here", action="store_true", help="for workers of this machine; uploads nothing"
    )
    shown = actions.add_parser("list", help="show what there is, with sizes")
    remove = actions.add_parser(
        "remove",
        help="remove packages from this machine and the bucket",
        description="Remove packages; executors that need them build and upload them again.",
    )
    remove.add_argument(
        "names", nargs="*", metavar="RUNTIME", help="as `list` shows it, or its beginning"
    )
    remove.add_argument(
        "--all", action="store_true", help="all of them, and the modules that travelled"
    )
    for action, run in ((build, run_build), (shown, run_list), (remove, run_remove)):
        action.add_argument(
            "--name",
            metavar="NAME",
            help=f"the deployment (default: ${DEPLOYMENT_VARIABLE}, else {DEFAULT_NAME})",
        )
        action.set_defaults(run=common.explain(run))


def run_build(arguments: argparse.Namespace) -> int:
    """Build a runtime, upload it, and return the exit status.

    Args:
        arguments: `requirements`, `file`, `here` and `name`.
    """
    from lambdafutures._environment import requirements, runtimes
    from lambdafutures.cli.bar import Bar

    if bool(arguments.requirements) == bool(arguments.file):
        raise ValueError("give either requirements or a file of them with -r")
    request = requirements.read(arguments.file or arguments.requirements)
    deployment = None if arguments.here else _deployment(arguments)
    began_s = time.monotonic()
    with Bar() as bar:
        made = runtimes.provide(request, _target(deployment, arguments.here), bar.show)
        built_s = time.monotonic() - began_s
        is_new = deployment is not None and _with_store(
            deployment, lambda store: _upload(store, deployment, made, bar.show)
        )
    print(_described(made.bundle.name, made))
    print(f"ready in {built_s:.1f} s for {made.target}")
    if deployment is None:
        print("nothing was uploaded" + ("" if arguments.here else ": nothing is deployed"))
    else:
        took_s = time.monotonic() - began_s - built_s
        said = f"uploaded in {took_s:.1f} s" if is_new else "it was there"
        print(f"bucket {deployment.bucket}: {said}")
    return 0


async def _upload(
    store: S3Store, deployment: Deployment, made: Runtime, show: Callable[[str, float], None]
) -> bool:
    from lambdafutures._backends.bundle_store import put_bundle

    return await put_bundle(
        store, deployment.prefix, made.bundle, progress=lambda share: show("uploading", share)
    )


def run_list(arguments: argparse.Namespace) -> int:
    """Show the runtimes that there are, and return the exit status.

    Args:
        arguments: `name`.
    """
    from lambdafutures._environment import runtimes

    print("on this machine:")
    for made in runtimes.kept():
        print(f"  {_described(made.bundle.name, made)}, for {made.target}")
    deployment = _deployment(arguments)
    if deployment is None:
        return 0
    print(f"in bucket {deployment.bucket}:")
    stored = _stored(deployment)
    for each in stored:
        if each.about is not None:
            print(f"  {_told(each)}")
    modules = [each.size_bytes for each in stored if each.about is None]
    if modules:
        print(f"  and {len(modules)} bundles of modules, {sum(modules) / 1e6:.2f} MB")
    return 0


def run_remove(arguments: argparse.Namespace) -> int:
    """Remove runtimes, and return the exit status.

    Args:
        arguments: `names`, `all` and `name`.
    """
    from lambdafutures._backends.bundle_store import remove_bundle
    from lambdafutures._environment import runtimes

    if bool(arguments.names) == arguments.all:
        raise ValueError("give names, as `lambdafutures runtime list` shows them, or --all")
    deployment = _deployment(arguments)
    here = {made.bundle.name for made in runtimes.kept()}
    there = {each.name for each in _stored(deployment)} if deployment is not None else set()
    wanted = here | there
    if not arguments.all:
        wanted = {_chosen(name, wanted) for name in arguments.names}
    for name in sorted(wanted):
        runtimes.remove(name)
        if deployment is not None and name in there:
            _with_store(deployment, partial(remove_bundle, prefix=deployment.prefix, name=name))
        places = [place for place, names in (("here", here), ("bucket", there)) if name in names]
        print(f"removed {name[:SHOWN]} ({', '.join(places)})")
    return 0


def _chosen(beginning: str, names: set[str]) -> str:
    found = [name for name in names if name.startswith(beginning)]
    if len(found) != 1:
        how = "none" if not found else f"{len(found)}"
        raise ValueError(
            f"{how} of the runtimes begin with {beginning!r}: see `lambdafutures runtime list`"
        )
    return found[0]


def _deployment(arguments: argparse.Namespace) -> Deployment | None:
    from lambdafutures.deployment import find_deployment

    return find_deployment(common.chosen_name(arguments))


def _target(deployment: Deployment | None, is_here: bool) -> Target:
    from lambdafutures._environment.target import Target

    here = Target.here()
    if is_here:
        return here
    if deployment is None:
        return Target.of_lambda(here.python, "x86_64")
    return Target.of_lambda(deployment.python or here.python, deployment.arch)


def _with_store(deployment: Deployment, use: Callable[[S3Store], Coroutine[Any, Any, T]]) -> T:
    from lambdafutures._backends.s3_store import S3Store

    async def run() -> T:
        store = S3Store(deployment.bucket, deployment.region)
        try:
            return await use(store)
        finally:
            await store.close()

    return asyncio.run(run())


def _stored(deployment: Deployment) -> list[StoredBundle]:
    from lambdafutures._backends.bundle_store import list_bundles

    return _with_store(deployment, lambda store: list_bundles(store, deployment.prefix))


def _described(name: str, made: Runtime) -> str:
    sizes = made.bundle.packed_bytes, made.bundle.unpacked_bytes
    return _line(name, *sizes, ", ".join(made.requirements))


def _told(each: StoredBundle) -> str:
    about = each.about or {}
    asked = ", ".join(about.get("requirements", ()))
    line = _line(each.name, each.size_bytes, about.get("unpacked_bytes", 0), asked)
    return f"{line}, for {about.get('target', '?')}"


def _line(name: str, packed_bytes: int, unpacked_bytes: int, asked: str) -> str:
    return (
        f"{name[:SHOWN]}  {packed_bytes / 1e6:7.2f} MB, {unpacked_bytes / 1e6:7.2f} MB unpacked: "
        f"{asked}"
    )
