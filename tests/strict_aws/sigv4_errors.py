"""What each service answers to a bad signature: one table, since each has words of its own."""

from .messages import AwsError

_S3 = {
    "anonymous": (403, "AccessDenied", "Access Denied"),
    "algorithm": (400, "InvalidRequest",
                  "The authorization mechanism you have provided is not supported. "
                  "Please use AWS4-HMAC-SHA256."),
    "malformed": (400, "AuthorizationHeaderMalformed",
                  "The authorization header that you provided is not valid."),
    "scope": (400, "AuthorizationHeaderMalformed",
              "The authorization header is malformed; the credential scope is not valid."),
    "no-date": (403, "AccessDenied",
                "AWS authentication requires a valid Date or x-amz-date header"),
    "no-payload-hash": (400, "InvalidRequest",
                        "Missing required header for this request: x-amz-content-sha256"),
    "unknown-key": (403, "InvalidAccessKeyId",
                    "The AWS Access Key Id you provided does not exist in our records."),
    "signature": (403, "SignatureDoesNotMatch",
                  "The request signature we calculated does not match the signature you provided. "
                  "Check your key and signing method."),
    "unsigned-headers": (403, "AccessDenied",
                         "There were headers present in the request which were not signed"),
    "token": (400, "InvalidToken", "The provided token is malformed or otherwise invalid."),
    "expired-token": (400, "ExpiredToken", "The provided token has expired."),
    "skew": (403, "RequestTimeTooSkewed",
             "The difference between the request time and the current time is too large."),
    "presign-expired": (403, "AccessDenied", "Request has expired"),
    "presign-early": (403, "AccessDenied", "Request is not valid yet"),
    "query-malformed": (400, "AuthorizationQueryParametersError",
                        "Query-string authentication version 4 requires the X-Amz-Algorithm, "
                        "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
                        "X-Amz-Expires parameters, X-Amz-Expires at most a week."),
}  # fmt: skip

_BAD_TOKEN = "The security token included in the request is invalid."
_MISMATCH = (
    "The request signature we calculated does not match the signature you provided. Check your "
    "AWS Secret Access Key and signing method. Consult the service documentation for details."
)
_LAMBDA = {
    "anonymous": (403, "MissingAuthenticationTokenException", "Missing Authentication Token"),
    "algorithm": (403, "IncompleteSignatureException", "Unsupported signing algorithm."),
    "malformed": (403, "IncompleteSignatureException",
                  "Authorization header requires 'Credential', 'SignedHeaders' and 'Signature'."),
    "scope": (403, "InvalidSignatureException", "Credential should be scoped to correct service."),
    "no-date": (403, "IncompleteSignatureException",
                "Authorization header requires existence of a 'X-Amz-Date' header."),
    "unknown-key": (403, "UnrecognizedClientException", _BAD_TOKEN),
    "signature": (403, "InvalidSignatureException", _MISMATCH),
    "unsigned-headers": (403, "InvalidSignatureException", _MISMATCH),
    "token": (403, "UnrecognizedClientException", _BAD_TOKEN),
    "expired-token": (403, "ExpiredTokenException",
                      "The security token included in the request is expired"),
    "skew": (403, "InvalidSignatureException", "Signature expired: it is too old or too new."),
    "presign-expired": (403, "InvalidSignatureException", "Signature expired."),
    "presign-early": (403, "InvalidSignatureException", "Signature not yet current."),
    "query-malformed": (403, "IncompleteSignatureException", "Incomplete query signature."),
}  # fmt: skip

_STS = {
    **_LAMBDA,
    "anonymous": (403, "MissingAuthenticationToken", "Request is missing Authentication Token"),
    "unknown-key": (403, "InvalidClientTokenId", _BAD_TOKEN),
    "token": (403, "InvalidClientTokenId", _BAD_TOKEN),
    "signature": (403, "SignatureDoesNotMatch", _MISMATCH),
    "unsigned-headers": (403, "SignatureDoesNotMatch", _MISMATCH),
    "scope": (403, "SignatureDoesNotMatch", "Credential should be scoped to correct service."),
    "skew": (403, "SignatureDoesNotMatch", "Signature expired: it is too old or too new."),
    "expired-token": (403, "ExpiredToken", "The security token included in the request is expired"),
}  # fmt: skip

_TABLES = {"s3": _S3, "lambda": _LAMBDA, "sts": _STS}


def auth_error(service: str, reason: str, **fields: str) -> AwsError:
    """Return the error a service answers for one reason.

    Args:
        service: `s3`, `lambda` or `sts`.
        reason: A key of the table.
        fields: More elements of S3's error body.
    """
    status, code, message = _TABLES[service][reason]
    return AwsError(status, code, message, fields if service == "s3" else None)
