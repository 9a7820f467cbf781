"""The Dockerfile of a container image that functions can run: up to 10 GB of packages."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from lambdafutures.deploy.bundle import HANDLER
from lambdafutures.deploy.options import Options

# AWS's own images have Lambda's runtime interface, and the Python of the runtime of that name.
_BASE = "public.ecr.aws/lambda/python"


def dockerfile(options: Options, version: str, requirements: Sequence[str] = ()) -> str:
    """Return a Dockerfile.

    Args:
        options: Which Python.
        version: Version of lambdafutures that clients have.
        requirements: Lines of a requirements file.
    """
    # As a file: options, and hashes of packages, are for files only.
    wanted = [f"lambdafutures=={version}", *requirements]
    lines = " \\\n        ".join(shlex.quote(line) for line in wanted)
    platform = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}[options.arch]
    return f"""\
# docker build --platform {platform} --provenance=false -t URI . && docker push URI
# lambdafutures deploy --image URI
FROM {_BASE}:{options.python}
RUN printf '%s\\n' \\
        {lines} \\
        > /tmp/requirements.txt && pip install --no-cache-dir -r /tmp/requirements.txt
CMD ["{HANDLER}"]
"""
