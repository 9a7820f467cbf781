"""What the documents show is true: their Python runs, their commands are the ones that are run."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", text, re.MULTILINE | re.DOTALL)
    return [textwrap.dedent(block) for _, block in found]


def test_the_readmes_python_runs():
    python = blocks(README, "python")
    assert len(python) == 3
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", "\n".join(python)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("332833500\n[1, 2, 3] 1 Timings(")
    assert done.stdout.endswith("\n[1, 2, 3]\n")


def test_the_python_of_the_compatibility_page_runs(tmp_path):
    (python,) = blocks((ROOT / "docs" / "compatibility.md").read_text(), "python")
    script = tmp_path / "script.py"
    script.write_text(python)
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "hello\n"


def test_the_readmes_test_command_is_what_ci_runs():
    _, tests = blocks(README, "sh")
    ci = (ROOT / ".ci" / "run").read_text()
    for step in ("-e '.[test", "python -m pytest"):
        assert step in tests
        assert step in ci.replace('"$venv/bin/python"', "python")


@pytest.mark.parametrize(
    "document", sorted((ROOT / "docs").glob("*.md")), ids=lambda path: path.name
)
def test_the_files_that_documents_name_exist(document):
    for name in re.findall(r"`((?!docs/|tests/)_?[a-z_]+/[a-z_]+\.py)`", document.read_text()):
        assert (ROOT / "lambdafutures" / name).exists(), name
    for name in re.findall(r"`((?:docs|tests)/[a-z_/]+\.(?:py|md))`", document.read_text()):
        assert (ROOT / name).exists(), name


def test_the_tests_that_the_page_on_reliability_names_exist():
    files = {path.stem.removeprefix("test_"): path for path in (ROOT / "tests").rglob("test_*.py")}
    named = re.findall(r"`(\w+)::(test_\w+)`", (ROOT / "docs" / "reliability.md").read_text())
    assert len(named) > 50
    for file, test in named:
        assert re.search(rf"^def {test}\(", files[file].read_text(), re.MULTILINE), (file, test)


def test_every_document_that_the_readme_names_exists():
    for name in re.findall(r"`(docs/[a-z_/]+\.md)`", README):
        assert (ROOT / name).exists(), name
