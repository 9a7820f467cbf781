"""Consumers of what happens: figures and progress."""
