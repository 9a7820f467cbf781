"""The `lambdafutures` command."""

from __future__ import annotations

import argparse
import re

import pytest

import lambdafutures
from lambdafutures import cli
from lambdafutures.cli import demo


def test_version(capsys):
    assert cli.main(["version"]) == 0
    said = capsys.readouterr().out
    assert re.fullmatch(
        rf"lambdafutures {re.escape(lambdafutures.__version__)} on \w+ 3\.\d+\.\S+, \w+ \w+\n", said
    )


def test_a_verb_is_required(capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main([])
    assert caught.value.code == 2
    assert "VERB" in capsys.readouterr().err


def test_word_count_equals_the_serial_count(capsys):
    """The demo on a part of its input: the whole is run by its own command."""
    sources = demo.find_sources()
    assert len(sources) > 500
    assert all(path.suffix == ".py" for path in sources)
    command = ["demo", "wordcount", "--backend", "local", "--workers", "2", "--files", "60"]
    assert cli.main(command) == 0
    said = capsys.readouterr().out
    assert "60 files" in said
    assert "the totals equal the serial count" in said
    assert "speed-up" in said
    assert "set-up" in said
    assert len(re.findall(r"^ *[\d,]+  \w+$", said, re.MULTILINE)) == demo.TOP


def test_word_count_tells_when_the_totals_differ(capsys, monkeypatch):
    from collections import Counter

    sources = demo.find_sources()[:5]
    monkeypatch.setattr(demo, "find_sources", lambda: sources)
    serial = iter([Counter("a")] * 5)
    real = demo.count_words
    monkeypatch.setattr(demo, "count_words", lambda text: next(serial, None) or real(text))
    arguments = argparse.Namespace(backend="local", workers=1, files=None, progress=False)
    assert demo.run(arguments) == 1
    assert "DIFFER" in capsys.readouterr().err


def test_words_are_runs_of_word_characters():
    assert demo.count_words("a b_1, a\n(é)") == {"a": 2, "b_1": 1, "é": 1}
