"""Start AWS's runtime client with the import path of a Lambda sandbox.

Run as a script under `-S -P`: no site-packages of the interpreter are importable, only the code of
the function, its layers, the runtime directory (on PYTHONPATH, as in Lambda) and the standard
library.
"""

import os
import site
import sys


def main() -> None:
    """Put the task root and the layers first on the path, then run the handler for ever."""
    # What `site` does beyond paths, which -S left out: exit(), quit() and help() exist in Lambda.
    site.setquit()
    site.setcopyright()
    site.sethelper()
    layers = os.environ.pop("STRICT_AWS_LAYERS", "")
    sys.path[:0] = [os.environ["LAMBDA_TASK_ROOT"], *filter(None, layers.split(os.pathsep))]
    from awslambdaric.__main__ import main as run_handler  # type: ignore[import-untyped]

    run_handler(["bootstrap", os.environ["_HANDLER"]])


main()
