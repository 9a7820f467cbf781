"""Other libraries to measure beside, in a virtual environment of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGES = ("loky", "lithops[aws]==3.8.*")
FOLDER_VARIABLE = "LAMBDAFUTURES_PEERS"
HERE = Path(__file__).parent
TIMEOUT_S = 600


@dataclass(frozen=True)
class Peers:
    """Hold the environment's interpreter.

    Args:
        python: Its path.
    """

    python: Path

    @classmethod
    def installed(cls) -> Peers:
        """Return the environment, made if it is not there, which takes a minute.

        It is in `$LAMBDAFUTURES_PEERS`, by default ``~/.cache/lambdafutures-peers``.
        """
        default = Path.home() / ".cache" / "lambdafutures-peers"
        folder = Path(os.environ.get(FOLDER_VARIABLE, default))
        python = folder / "bin" / "python"
        mark = folder / "installed"
        if not mark.exists():
            venv.create(folder, with_pip=True)
            pip = [str(python), "-m", "pip", "install", "--quiet", *PACKAGES]
            subprocess.run(pip, check=True, stdout=sys.stderr)
            mark.touch()
        return cls(python)

    def run(self, script: str, *arguments: object) -> dict[str, Any]:
        """Run one of the scripts for peers; return what it printed, as JSON.

        Args:
            script: Its name.
            arguments: Its command line.
        """
        # Safe path: this folder's modules are named like some of theirs.
        command = [str(self.python), "-P", str(HERE / script), *map(str, arguments)]
        environ = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        # Lithops starts what is called "python".
        environ["PATH"] = os.pathsep.join([str(self.python.parent), environ["PATH"]])
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
            environ |= {"HOME": folder, "TMPDIR": folder}  # where it leaves much behind
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environ, check=False
            )
        lines = done.stdout.strip().splitlines()
        if done.returncode or not lines:
            raise RuntimeError(f"{' '.join(command)} failed:\n{done.stderr[-3000:]}")
        found: dict[str, Any] = json.loads(lines[-1])
        return found
