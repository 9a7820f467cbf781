"""One CloudFormation stack: asked, changed, and waited for with a deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from lambdafutures.deploy.errors import AwsFault, DeployError
from lambdafutures.deploy.session import Aws
from lambdafutures.deploy.template import TAG
from lambdafutures.deploy.waiting import SETTLE_S, ask_until

# Reasons in an error: the first are the causes, the rest is what they dragged along.
MOST_REASONS = 3

_SERVICE = "cloudformation"


class Stack:
    """Handle the stack of one deployment.

    Args:
        aws: The way to AWS.
        name: Name of stack and deployment.
    """

    def __init__(self, aws: Aws, name: str) -> None:
        self.name = name
        self.was_created = False
        """We made it: CloudFormation has accepted our request to."""
        self._aws = aws

    def describe(self, stack_id: str | None = None) -> Mapping[str, Any] | None:
        """Return CloudFormation's description, or None if there is no such stack.

        Args:
            stack_id: The stack's id, by which one that was deleted is still found.
        """
        try:
            answer = self._aws.call(_SERVICE, "describe_stacks", StackName=stack_id or self.name)
        except AwsFault as fault:
            if "does not exist" in fault.message:
                return None
            raise
        description: Mapping[str, Any] = answer["Stacks"][0]
        return description

    def is_ours(self, description: Mapping[str, Any]) -> bool:
        """Tell whether the stack carries our tag and this deployment's name.

        Args:
            description: What `describe` returned.
        """
        tags = {tag["Key"]: tag["Value"] for tag in description.get("Tags", ())}
        return tags.get(TAG) == self.name

    def template(self) -> dict[str, Any]:
        """Return the template that the stack was last given."""
        body = self._aws.call(_SERVICE, "get_template", StackName=self.name)["TemplateBody"]
        # boto3 parses JSON by itself; a stack that is not ours may hold YAML, as text.
        template = json.loads(json.dumps(body))
        return template if isinstance(template, dict) else {}

    def resources(self) -> dict[str, str]:
        """Return the physical name of each resource by its logical one."""
        answer = self._aws.call(_SERVICE, "describe_stack_resources", StackName=self.name)
        return {
            resource["LogicalResourceId"]: resource.get("PhysicalResourceId", "")
            for resource in answer["StackResources"]
            if resource.get("ResourceStatus") != "DELETE_COMPLETE"
        }

    def create(self, template: Mapping[str, Any]) -> None:
        """Create the stack and wait until it is complete.

        Args:
            template: Its template.

        Raises:
            DeployError: If it failed; CloudFormation has rolled it back then.
        """
        answer = self._aws.call(_SERVICE, "create_stack", **self._request(template))
        self.was_created = True
        self._wait_until("CREATE_COMPLETE", "CREATE", answer["StackId"])

    def update(self, template: Mapping[str, Any]) -> bool:
        """Update the stack, wait until it is complete, and return whether anything changed.

        Args:
            template: Its new template.

        Raises:
            DeployError: If it failed; CloudFormation has rolled it back then.
        """
        try:
            answer = self._aws.call(_SERVICE, "update_stack", **self._request(template))
        except AwsFault as fault:
            if "No updates are to be performed" in fault.message:
                return False
            raise
        self._wait_until("UPDATE_COMPLETE", "UPDATE", answer["StackId"])
        return True

    def delete(self, description: Mapping[str, Any]) -> None:
        """Delete the stack with all that it made, and wait until it is gone.

        Args:
            description: What `describe` returned.

        Raises:
            DeployError: If something could not be deleted.
        """
        stack_id = description["StackId"]
        self._aws.call(_SERVICE, "delete_stack", StackName=self.name)
        self._wait_until("DELETE_COMPLETE", "DELETE", stack_id)

    def _request(self, template: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "StackName": self.name,
            "TemplateBody": json.dumps(template, separators=(",", ":")),
            "Capabilities": ["CAPABILITY_IAM"],
            "Tags": [{"Key": TAG, "Value": self.name}],
        }

    def settle(self, stack_id: str, verb: str = "") -> str:
        """Wait until nobody is at work on the stack, and return its state.

        Args:
            stack_id: The stack's id.
            verb: What the state must begin with: the state of before may still be told just after
                a request.

        Raises:
            DeployError: If that takes too long.
        """

        def ask() -> str:
            description = self.describe(stack_id)
            # A deleted stack that is not even found by its id is gone.
            return str(description["StackStatus"]) if description else "DELETE_COMPLETE"

        def is_settled(status: str) -> bool:
            is_moving = status.endswith("_IN_PROGRESS") and status != "REVIEW_IN_PROGRESS"
            return not is_moving and status.startswith(verb)

        status = ask_until(ask, is_settled)
        if not is_settled(status):
            raise DeployError(
                f"stack {self.name} is still {status} after {SETTLE_S:.0f} s: watch it with "
                f"`lambdafutures status --name {self.name}`, then run the command again"
            )
        return status

    def _wait_until(self, wanted: str, verb: str, stack_id: str) -> None:
        # A creation that fails ends as ROLLBACK_COMPLETE: its own verb is not to be waited for.
        status = self.settle(stack_id, "DELETE" if verb == "DELETE" else "")
        if status != wanted:
            raise DeployError(f"stack {self.name} is {status}: {self._reasons(stack_id, verb)}")

    def _reasons(self, stack_id: str, verb: str) -> str:
        """Return why the last operation failed: its first failures."""
        answer = self._aws.call(_SERVICE, "describe_stack_events", StackName=stack_id)
        events = sorted(answer["StackEvents"], key=lambda event: event["Timestamp"])
        began = [
            event["Timestamp"]
            for event in events
            if event["LogicalResourceId"] == self.name
            and event["ResourceStatus"] == f"{verb}_IN_PROGRESS"
        ]
        failed = [
            f"{event['LogicalResourceId']}: {event.get('ResourceStatusReason', 'no reason given')}"
            for event in events
            if event["ResourceStatus"].endswith("_FAILED")
            and "cancelled" not in event.get("ResourceStatusReason", "")
            and (not began or event["Timestamp"] >= began[-1])
        ]
        return "; ".join(failed[:MOST_REASONS]) or "CloudFormation gives no reason"
