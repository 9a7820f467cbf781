"""What the demonstration has workers do: apart from the command, since a worker imports it."""

from __future__ import annotations

import re
from collections import Counter

_WORD = re.compile(r"\w+")


def count_words(text: str) -> Counter[str]:
    """Return how often each word occurs.

    Args:
        text: Any text; a word is a run of letters, digits and underscores.
    """
    return Counter(_WORD.findall(text))
