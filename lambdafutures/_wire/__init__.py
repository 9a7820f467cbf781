"""What client and worker agree on: names, bytes and versions. Standard library only.

The worker imports this package in a sandbox where every millisecond of start-up is billed, so its
modules avoid `dataclasses`, `typing` and whatever else is slow to import.
"""
