"""What these tests share is in `tests/aws_cloud.py`; the fixtures are in `tests/conftest.py`."""

from tests.aws_cloud import BUCKET, FUNCTION, MEMORY_MB, MODES, Aws

__all__ = ["BUCKET", "FUNCTION", "MEMORY_MB", "MODES", "Aws"]
