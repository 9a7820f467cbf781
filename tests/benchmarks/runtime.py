"""Packages on their way to a worker: our bundles, and one archive in one stream, as PyWren had it.

Run as ``python -m tests.benchmarks.runtime [--packages numpy ...] [--rounds N]``. It downloads the
packages. Both ways carry the same files; the store has the pace of S3 as a function sees it (20 ms,
50 MB/s per connection, 90 MB/s in all), on one machine with everything else.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

from lambdafutures._backends.bundle_store import put_bundle
from lambdafutures._backends.s3_store import S3Store
from lambdafutures._environment import local, runtimes
from lambdafutures._environment.requirements import read
from lambdafutures._environment.target import Target
from lambdafutures._wire import bundle, keys
from lambdafutures._wire.bundle import Bundle
from lambdafutures._worker.bundles import Shelf
from lambdafutures._worker.s3 import S3Client
from tests.aws_servers import BUCKET, strict_server
from tests.benchmarks import paired
from tests.benchmarks.paced_store import Pace, serve

PACKAGES = {"numpy": "numpy", "scikit-learn": "sklearn.svm", "pandas": "pandas"}
ARCHIVE = "archive.tar.gz"
# tar's and gzip's own default, which PyWren used.
GZIP_LEVEL = 6
PATIENCE_S = 600.0


class Packed:
    """One package with what it requires, packed in both ways."""

    def __init__(self, name: str, folder: Path) -> None:
        self.module = PACKAGES[name]
        self.folder = folder
        self.files = folder / "files"
        began = time.perf_counter()
        # A worker of this machine, so that what was unpacked can be imported here.
        self.made = runtimes.provide(read([name]), Target.here())
        self.build_s = time.perf_counter() - began
        bundle_ = self.made.bundle
        self.parts = [bundle_.read(number) for number in range(len(bundle_.parts))]
        self.files.mkdir(parents=True)
        for part in self.parts:
            bundle.unpack(part, str(self.files))
        began = time.perf_counter()
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=GZIP_LEVEL) as archive:
            archive.add(self.files, ".")
        self.archive = buffer.getvalue()
        self.archive_s = time.perf_counter() - began

    @property
    def objects(self) -> dict[str, bytes]:
        found = {ARCHIVE: self.archive}
        for number, part in enumerate(self.parts):
            found[keys.part_key("p", self.made.bundle.name, number)] = part
        return {f"{BUCKET}/{key}": body for key, body in found.items()}


def timed(action: Callable[[], object]) -> float:
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def fresh(folder: Path) -> Path:
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def fetch_ours(packed: Packed, address: str) -> float:
    """As a cold worker does: parts side by side, each checked and unpacked as it arrives."""
    environ = {
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "x",
        "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_REGION": "us-east-1",
    }
    store = S3Client(BUCKET, environ)
    root = fresh(packed.folder / "ours")
    asked = Bundle.of_fields(packed.made.bundle.to_fields())
    took = timed(
        lambda: Shelf(str(root)).fetch([asked], store, "p", time.monotonic() + PATIENCE_S, _never)
    )
    store.close()
    return took


def fetch_theirs(packed: Packed, address: str) -> float:
    """One request, unpacked as it arrives."""
    root = fresh(packed.folder / "theirs")

    def fetch() -> None:
        with (
            urllib.request.urlopen(f"{address}/{BUCKET}/{ARCHIVE}") as stream,
            tarfile.open(fileobj=stream, mode="r|gz") as archive,
        ):
            archive.extractall(root, filter="tar")

    return timed(fetch)


def import_s(packed: Packed, *, is_compiled: bool) -> float:
    """The first import in a fresh interpreter that has nothing else."""
    root = packed.folder / "import"
    if root.exists():
        shutil.rmtree(root)
    ignore = None if is_compiled else shutil.ignore_patterns("__pycache__")
    shutil.copytree(packed.files, root, ignore=ignore)
    program = (
        f"import sys, time; sys.path[:0] = {[str(root), local.bare_path()[0]]!r}\n"
        "began = time.perf_counter()\n"
        f"import {packed.module}\nprint(time.perf_counter() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-S", "-c", program], capture_output=True, text=True, check=True
    )
    return float(done.stdout)


def upload_s(packed: Packed) -> tuple[float, float]:
    """Ours and theirs, to the strict fake, which checks every signature and sum."""
    with strict_server() as server:
        environ = server.environ()
        before = {name: os.environ.get(name) for name in environ}
        os.environ.update(environ)

        async def run() -> tuple[float, float]:
            store = S3Store(BUCKET)
            try:
                began = time.perf_counter()
                await put_bundle(store, "p", packed.made.bundle)
                between = time.perf_counter()
                await store.put(ARCHIVE, packed.archive)
                return between - began, time.perf_counter() - between
            finally:
                await store.close()

        try:
            return asyncio.run(run())
        finally:
            for name, value in before.items():
                os.environ.pop(name, None)
                if value is not None:
                    os.environ[name] = value


def _never() -> None:
    raise AssertionError("there is room")


def show(name: str, packed: Packed, rounds: int, pace: Pace) -> None:
    made = packed.made
    print(f"\n{name}: {', '.join(f'{n} {v}' for n, v in sorted(made.packages.items()))}")
    count = sum(path.is_file() for path in packed.files.rglob("*"))
    print(
        f"  {count} files, {made.bundle.unpacked_bytes / 1e6:.0f} MB; "
        f"built in {packed.build_s:.1f} s, downloads included; in {len(packed.parts)} parts"
    )
    print(f"  {'':34}{'ours':>9}{'PyWren':>10}{'ratio':>8}")
    ours, theirs = made.bundle.packed_bytes / 1e6, len(packed.archive) / 1e6
    line("size, MB", ours, theirs)
    line("upload, s", *upload_s(packed))
    with serve(packed.objects, pace) as address:
        pair = paired.measure(
            lambda: fetch_ours(packed, address), lambda: fetch_theirs(packed, address), rounds
        )
    line("fetch and unpack, s", median(pair.ours), median(pair.theirs), pair.ratio)
    imports = paired.measure(
        lambda: import_s(packed, is_compiled=True),
        lambda: import_s(packed, is_compiled=False),
        rounds,
    )
    line("first import, compiled or not, s", *map(median, (imports.ours, imports.theirs)))
    cold_ours = median(pair.ours) + median(imports.ours)
    cold_theirs = median(pair.theirs) + median(imports.theirs)
    line("cold, all of it, s", cold_ours, cold_theirs)


def median(figures: list[float]) -> float:
    return sorted(figures)[len(figures) // 2]


def line(what: str, ours: float, theirs: float, ratio: float | None = None) -> None:
    print(f"  {what:34}{ours:9.2f}{theirs:10.2f}{ratio or theirs / ours:8.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--packages", nargs="+", choices=PACKAGES, default=list(PACKAGES))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--line-mb-per-s", type=float, default=Pace().line_bytes_per_s / 1e6)
    arguments = parser.parse_args()
    pace = Pace(line_bytes_per_s=arguments.line_mb_per_s * 1e6)
    print(
        f"a store of {pace.latency_s * 1000:.0f} ms, {pace.connection_bytes_per_s / 1e6:.0f} MB/s "
        f"per connection, {pace.line_bytes_per_s / 1e6:.0f} MB/s in all; ratios above 1: we are "
        "better"
    )
    with tempfile.TemporaryDirectory() as scratch:
        os.environ["LAMBDAFUTURES_HOME"] = str(Path(scratch, "home"))
        for name in arguments.packages:
            show(name, Packed(name, Path(scratch, name)), arguments.rounds, pace)


if __name__ == "__main__":
    main()
