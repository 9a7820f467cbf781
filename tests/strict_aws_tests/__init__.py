"""The strict fake's own tests: each claim it makes, by requests over HTTP."""
