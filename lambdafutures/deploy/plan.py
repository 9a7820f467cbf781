"""What must be done to get from what is there to what is wanted. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, NamedTuple

from lambdafutures.deploy.bundle import Bundle
from lambdafutures.deploy.errors import DeployError
from lambdafutures.deploy.options import Options
from lambdafutures.deploy.template import (
    Template,
    bucket_template,
    code_key,
    deployed_options,
    full_template,
    layer_key,
)

# What a stack can be updated from, and what can only be removed (AWS CloudFormation's states).
ROLLED_BACK = "UPDATE_ROLLBACK_COMPLETE"
USABLE = frozenset({"CREATE_COMPLETE", "UPDATE_COMPLETE", ROLLED_BACK})
BROKEN = frozenset(
    {
        "CREATE_FAILED",
        "DELETE_FAILED",
        "REVIEW_IN_PROGRESS",
        "ROLLBACK_COMPLETE",
        "ROLLBACK_FAILED",
    }
)


@dataclass(frozen=True, slots=True)
class Blueprint:
    """Hold all that is wanted.

    Args:
        options: What is to be deployed.
        bundle: The worker's zip.
        first: The template of the first step: the bucket.
        template: The whole template.
        layer: The zip of the deployed packages, where it was made by this run.
    """

    options: Options
    bundle: Bundle
    first: Template
    template: Template
    layer: bytes | None = None

    @property
    def key(self) -> str:
        """Key of the worker's zip in the bucket."""
        return code_key(self.options.prefix, self.bundle.sha256)

    @property
    def layer_key(self) -> str:
        """Key of the zip of the deployed packages in the bucket; empty if there are none."""
        return layer_key(self.options.prefix, self.options.layer)


@dataclass(frozen=True, slots=True)
class Found:
    """Say what is there.

    Args:
        status: The stack's state, or None if there is no stack.
        owned: The stack carries our tag.
        template: The template that it was last given.
        bucket: Name of its bucket; empty if that is gone.
        has_code: The wanted zip is in the bucket.
        has_layer: So are the wanted packages, or none are wanted.
        missing: Functions of the stack that somebody has deleted.
        amiss: Functions whose code or retry setting somebody has changed.
        strangers: What has a name of ours and does not belong to the stack.
    """

    status: str | None = None
    owned: bool = False
    template: Mapping[str, Any] | None = None
    bucket: str = ""
    has_code: bool = False
    has_layer: bool = True
    missing: tuple[str, ...] = ()
    amiss: tuple[str, ...] = ()
    strangers: tuple[str, ...] = ()


class Action(Enum):
    """Name what a step does."""

    REMOVE = "remove"
    CREATE = "create"
    UPLOAD = "upload"
    UPLOAD_LAYER = "upload layer"
    STRIP = "strip"
    UPDATE = "update"
    MEND = "mend"


class Step(NamedTuple):
    """Describe one step.

    Args:
        action: What it does.
        text: The same in words, for the user.
    """

    action: Action
    text: str


def choose_options(
    name: str, given: Mapping[str, Any], deployed: Mapping[str, Any] | None
) -> Options:
    """Return the options: those given, else those deployed before, else the defaults.

    So `lambdafutures deploy` with no option updates the code and keeps the sizes.

    Args:
        name: The deployment's name.
        given: Options by name; None stands for not given.
        deployed: The template that is deployed, or None.

    Raises:
        ValueError: If an option has a value that Lambda does not allow.
    """
    options = deployed_options(deployed or {})
    options |= {field: value for field, value in given.items() if value is not None}
    return Options(name=name, **options)


def draw(options: Options, bundle: Bundle, version: str, layer: bytes | None = None) -> Blueprint:
    """Return the blueprint of a deployment.

    Args:
        options: What is to be deployed.
        bundle: The worker's zip.
        version: Version of lambdafutures in it.
        layer: The zip of the packages, where it was made by this run.
    """
    return Blueprint(
        options,
        bundle,
        bucket_template(options),
        full_template(options, bundle.sha256, version),
        layer,
    )


def plan_steps(found: Found, wanted: Blueprint) -> tuple[Step, ...]:
    """Return the steps, none if nothing differs.

    Args:
        found: What is there.
        wanted: What is wanted.

    Raises:
        DeployError: If what is there is not ours, or not in a state to be changed.
    """
    name = wanted.options.name
    _check(found, name)
    steps: list[Step] = []
    anew = found.status is None
    if found.status in BROKEN or (found.status is not None and not found.bucket):
        why = f"it is {found.status}" if found.status in BROKEN else "its bucket is gone"
        steps.append(Step(Action.REMOVE, f"remove what is left of stack {name} ({why})"))
        anew = True
    if anew:
        steps.append(Step(Action.CREATE, f"create stack {name} with its bucket"))
    if anew or not found.has_code:
        size_kb = len(wanted.bundle.data) / 1e3
        steps.append(Step(Action.UPLOAD, f"upload the worker, {wanted.key} ({size_kb:.0f} kB)"))
    if wanted.options.layer and (anew or not found.has_layer):
        packages = ", ".join(f"{name} {v}" for name, v in wanted.options.layer.packages)
        steps.append(Step(Action.UPLOAD_LAYER, f"upload the packages {packages}"))
    if not anew and found.missing:
        lost = ", ".join(found.missing)
        steps.append(Step(Action.STRIP, f"take out of stack {name} what was deleted: {lost}"))
    # After a rollback it is not certain which template CloudFormation tells of; an update that
    # changes nothing does no harm.
    is_current = found.status != ROLLED_BACK and same(found.template, wanted.template)
    if anew or found.missing or not is_current:
        functions = ", ".join(wanted.options.functions.values())
        steps.append(Step(Action.UPDATE, f"update stack {name}: role, log groups, {functions}"))
    if found.amiss and not anew:
        changed = ", ".join(found.amiss)
        steps.append(Step(Action.MEND, f"set back what was changed by hand: {changed}"))
    return tuple(steps)


def _check(found: Found, name: str) -> None:
    if found.status is not None and not found.owned:
        raise DeployError(
            f"a stack {name} exists that lambdafutures has not made: choose another --name"
        )
    if found.strangers:
        raise DeployError(
            f"{', '.join(found.strangers)} exist already and do not belong to stack {name}: choose "
            "another --name, or delete them"
        )
    status = found.status
    if status is None or status in USABLE or status in BROKEN:
        return
    if status == "UPDATE_ROLLBACK_FAILED":
        raise DeployError(
            f"stack {name} is {status}: run `aws cloudformation continue-update-rollback "
            f"--stack-name {name}`, or `lambdafutures destroy --name {name}` and deploy again"
        )
    raise DeployError(
        f"stack {name} is {status}, somebody is at work on it: wait until `lambdafutures status "
        f"--name {name}` says COMPLETE, then try again"
    )


def same(one: Mapping[str, Any] | None, other: Mapping[str, Any] | None) -> bool:
    """Tell whether two templates say the same.

    Args:
        one: A template, or None.
        other: A template, or None.
    """
    # By way of JSON: what boto3 returns holds ordered dictionaries, which compare their order.
    return json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
