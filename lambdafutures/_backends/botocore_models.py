"""What botocore reads to make a client, read beforehand: it would hold up the event loop."""

from __future__ import annotations

from aiobotocore.session import AioSession

# 100 to 150 ms of JSON for Lambda or S3.
_MODELS = ("service-2", "endpoint-rule-set-1")
_DATA = ("partitions", "endpoints", "sdk-default-configuration", "_retry")


def load_models(session: AioSession, service: str) -> None:
    """Have a session's loader read and keep what a client of a service needs; on any thread.

    Args:
        session: The session.
        service: Name of the service, such as ``"s3"``.
    """
    loader = session.get_component("data_loader")
    for model in _MODELS:
        loader.load_service_model(service, model)
    for name in _DATA:
        loader.load_data(name)
