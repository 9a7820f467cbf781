"""TLS: the worker leaves the body unsigned; a certificate not trusted is named at once."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from lambdafutures._wire.sigv4 import UNSIGNED_PAYLOAD
from lambdafutures._worker.s3_http import S3Failed
from lambdafutures.exceptions import BackendError
from tests.aws_servers import AwsServer
from tests.stores.conftest import PART_BYTES, Run
from tests.stores.fault_proxy import Cut, FaultProxy, LostReply, Reset
from tests.stores.test_store_contract import pattern


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1, signed by itself, with its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "lambdafutures tests")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "certificate.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + signed.public_bytes(serialization.Encoding.PEM)
    )
    return path


@pytest.fixture
def proxy(server_named: Callable[[str], AwsServer], certificate: Path) -> Iterator[FaultProxy]:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with FaultProxy(server_named("strict").endpoint_url, tls) as running:
        yield running


@pytest.mark.parametrize("name", ["strict", "strict-botocore", "worker-strict"])
def test_objects_of_any_size_travel_over_tls(
    name: str,
    make_store: Callable[..., Any],
    run: Run[Any],
    prefix: str,
    proxy: FaultProxy,
    certificate: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_CA_BUNDLE", str(certificate))
    objects = make_store(name, proxy.endpoint_url, chance=lambda: 0.0)
    proxy.script("PUT", Reset(), LostReply())
    proxy.script("GET", None, Cut(1000))
    for body in (b"", b"small", pattern(2 * PART_BYTES + 1)):
        assert run(objects.put(f"{prefix}{len(body)}", body, only_if_absent=True)) is True
        assert run(objects.get(f"{prefix}{len(body)}")) == body
    if name == "worker-strict":
        hashes_sent = {each.headers["x-amz-content-sha256"] for each in proxy.seen}
        assert hashes_sent == {UNSIGNED_PAYLOAD}
        # TLS tells of a connection's end in its own way, which must not look like one in use.
        assert len({each.connection for each in proxy.seen}) < len(proxy.seen) / 2


@pytest.mark.parametrize("name", ["strict", "strict-botocore", "worker-strict"])
def test_a_certificate_that_is_not_trusted_is_named_at_once(
    name: str, make_store: Callable[..., Any], run: Run[Any], prefix: str, proxy: FaultProxy
) -> None:
    objects = make_store(name, proxy.endpoint_url)
    with pytest.raises((BackendError, S3Failed), match="CERTIFICATE_VERIFY_FAILED") as caught:
        run(objects.put(f"{prefix}key", b""))
    if isinstance(caught.value, BackendError):
        assert "AWS_CA_BUNDLE" in str(caught.value)
    assert proxy.seen == []
