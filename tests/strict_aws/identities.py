"""Who calls, with which keys, and what they may do: a small IAM."""

import itertools
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from fnmatch import translate
from functools import lru_cache
from typing import Any

Statement = str | tuple[str, str] | dict[str, Any]
"""What `allow` takes.

`"s3:GetObject"` (on everything), `"s3:GetObject arn:aws:s3:::bucket/*"` or the same as a pair, or a
statement of an IAM policy as a dict. Actions and resources may hold `*` and `?`.
"""


@dataclass(slots=True)
class Credential:
    """One access key.

    Attributes:
        access_key: The key id: `AKIA…` for long-lived keys, `ASIA…` with a session token.
        secret_key: The secret.
        session_token: The session token, empty for long-lived keys.
        identity: Whose key it is.
        expires_at: Unix time from which it is refused as expired; None for never.
    """

    access_key: str
    secret_key: str
    session_token: str
    identity: "Identity"
    expires_at: float | None = None

    def expire(self) -> None:
        """Let the credential have expired a moment ago."""
        self.expires_at = time.time() - 1

    def environ(self) -> dict[str, str]:
        """Return the credential as the environment variables the SDKs read."""
        values = {
            "AWS_ACCESS_KEY_ID": self.access_key,
            "AWS_SECRET_ACCESS_KEY": self.secret_key,
        }
        if self.session_token:
            values["AWS_SESSION_TOKEN"] = self.session_token
        return values


@dataclass(frozen=True, slots=True)
class _Rule:
    effect: str
    actions: re.Pattern[str]
    resources: re.Pattern[str]
    prefixes: re.Pattern[str] | None

    def applies(self, action: str, resource: str, prefix: str | None) -> bool:
        if self.prefixes is not None and (prefix is None or not self.prefixes.fullmatch(prefix)):
            return False
        # IAM compares actions without regard to case, resources with it.
        return bool(self.actions.fullmatch(action.lower()) and self.resources.fullmatch(resource))


@dataclass(slots=True)
class Identity:
    """A user or a role, its policy and its credentials.

    Attributes:
        name: Its name.
        arn: Its ARN: a user's, or for a role that of the role.
        principal_arn: The ARN that errors and GetCallerIdentity name.
        account_id: The account.
        is_role: Whether Lambda functions may run under it.
        credential: Its first credential.
    """

    name: str
    account_id: str
    is_role: bool = False
    rules: list[_Rule] = field(default_factory=list)
    credential: Credential = field(init=False)

    @property
    def arn(self) -> str:
        """Return the ARN of the user or role."""
        return f"arn:aws:iam::{self.account_id}:{'role' if self.is_role else 'user'}/{self.name}"

    @property
    def principal_arn(self) -> str:
        """Return the ARN of the caller: for a role, of an assumed-role session."""
        if self.is_role:
            return f"arn:aws:sts::{self.account_id}:assumed-role/{self.name}/session"
        return self.arn

    @property
    def access_key(self) -> str:
        """Return the access key id of the first credential."""
        return self.credential.access_key

    @property
    def secret_key(self) -> str:
        """Return the secret of the first credential."""
        return self.credential.secret_key

    @property
    def session_token(self) -> str:
        """Return the session token of the first credential, empty if it has none."""
        return self.credential.session_token

    def environ(self) -> dict[str, str]:
        """Return the first credential as environment variables."""
        return self.credential.environ()

    def expire(self) -> None:
        """Let the first credential have expired."""
        self.credential.expire()

    def allow(self, *statements: Statement) -> "Identity":
        """Grant more.

        Args:
            statements: As the module's `Statement` says.
        """
        return self._add("Allow", statements)

    def deny(self, *statements: Statement) -> "Identity":
        """Deny explicitly, which wins over every grant.

        Args:
            statements: As the module's `Statement` says.
        """
        return self._add("Deny", statements)

    def revoke(self) -> None:
        """Drop the whole policy."""
        self.rules.clear()

    def _add(self, effect: str, statements: Iterable[Statement]) -> "Identity":
        self.rules.extend(_parse(effect, statement) for statement in statements)
        return self

    def may(self, action: str, resource: str, prefix: str | None = None) -> bool:
        """Return whether the policy allows an action.

        Args:
            action: Such as `s3:GetObject`.
            resource: The ARN it acts upon.
            prefix: For `s3:ListBucket`, the prefix listed: the condition key `s3:prefix`.
        """
        is_allowed = False
        for rule in self.rules:
            if rule.applies(action, resource, prefix):
                if rule.effect == "Deny":
                    return False
                is_allowed = True
        return is_allowed


class Identities:
    """All identities and the credentials that lead to them."""

    def __init__(self, account_id: str) -> None:
        self._account_id = account_id
        self._numbers = itertools.count(1)
        self.by_name: dict[str, Identity] = {}
        self.by_key: dict[str, Credential] = {}

    def create(
        self,
        name: str,
        allow: Iterable[Statement] = (),
        *,
        is_role: bool = False,
        has_session: bool = False,
        expires_at: float | None = None,
    ) -> Identity:
        """Make an identity with one credential.

        Args:
            name: Its name.
            allow: What it may do.
            is_role: Whether it is a role, which functions can run under.
            has_session: Whether its credential has a session token (a role's always has).
            expires_at: Unix time at which its credential expires.
        """
        identity = Identity(name, self._account_id, is_role)
        identity.allow(*allow)
        identity.credential = self.issue(identity, is_role or has_session, expires_at)
        self.by_name[name] = identity
        return identity

    def issue(
        self, identity: Identity, has_session: bool = True, expires_at: float | None = None
    ) -> Credential:
        """Make one more credential of an identity.

        Args:
            identity: Whose.
            has_session: Whether it is temporary, with a session token.
            expires_at: Unix time at which it expires.
        """
        number = next(self._numbers)
        kind = "ASIA" if has_session else "AKIA"
        # Made from a counter, not at random: a failing run repeats exactly. The marks let a test
        # look for secrets in whatever left the process.
        credential = Credential(
            access_key=f"{kind}FAKEKEY{number:09d}",
            secret_key=f"fakeSecret{number:09d}/do+not/leak/this/aaaa",
            session_token=f"fakeToken{number:09d}//do-not-leak-this==" if has_session else "",
            identity=identity,
            expires_at=expires_at,
        )
        self.by_key[credential.access_key] = credential
        return credential


def _parse(effect: str, statement: Statement) -> _Rule:
    if isinstance(statement, str):
        action, _, resource = statement.partition(" ")
        return _Rule(effect, _pattern((action.lower(),)), _pattern((resource or "*",)), None)
    if isinstance(statement, tuple):
        return _Rule(effect, _pattern((statement[0].lower(),)), _pattern((statement[1],)), None)
    unknown = set(statement) - {"Sid", "Effect", "Action", "Resource", "Condition"}
    if unknown:
        raise ValueError(f"policy elements the fake does not evaluate: {sorted(unknown)}")
    actions = tuple(action.lower() for action in _texts(statement["Action"]))
    return _Rule(
        statement.get("Effect", effect),
        _pattern(actions),
        _pattern(_texts(statement["Resource"])),
        _prefixes(statement.get("Condition", {})),
    )


def _prefixes(condition: dict[str, Any]) -> re.Pattern[str] | None:
    """Return the prefixes of a condition on `s3:prefix`, the only condition key evaluated."""
    if not condition:
        return None
    patterns: list[str] = []
    for operator, keys in condition.items():
        if operator not in ("StringEquals", "StringLike") or set(keys) != {"s3:prefix"}:
            raise ValueError(f"condition the fake does not evaluate: {operator} {keys}")
        encode = translate if operator == "StringLike" else re.escape
        patterns.extend(encode(text) for text in _texts(keys["s3:prefix"]))
    return re.compile("|".join(patterns))


def _texts(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


@lru_cache(maxsize=1024)
def _pattern(texts: tuple[str, ...]) -> re.Pattern[str]:
    # A bracket is no wildcard in IAM, though it is one in fnmatch.
    return re.compile("|".join(translate(text.replace("[", "[[]")) for text in texts))
