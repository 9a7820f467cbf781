"""Every example runs, and its answer is the library's own serial one."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "docs" / "examples"
PATIENCE_S = 120
NEEDS = {
    "with_adaptive.py": ["adaptive"],
    "with_aiohttp.py": ["aiohttp"],
    "with_dask.py": ["dask"],
    "with_scikit_learn.py": ["sklearn", "joblib"],
    "with_scipy.py": ["scipy"],
    "with_tqdm.py": ["tqdm"],
}


def test_every_example_is_run_and_described():
    assert sorted(path.name for path in EXAMPLES.glob("*.py")) == sorted(NEEDS)
    readme = (EXAMPLES / "README.md").read_text()
    assert all(f"`{name}`" in readme for name in NEEDS)


@pytest.mark.parametrize("name", NEEDS)
def test_an_example_gives_the_serial_answer(name):
    missing = [module for module in NEEDS[name] if importlib.util.find_spec(module) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: pip install 'lambdafutures[examples]'")
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        env=os.environ | {"LAMBDAFUTURES_BACKEND": "local"},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stderr
    assert "serially" in done.stdout
