"""Lambda's control plane: create, read, update and delete functions and their settings."""

import base64
import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from . import limits
from .identities import Identities, Identity
from .lambda_model import Function, FunctionReference, check_environment
from .messages import AwsError, Request, Response
from .pool import Pool


@dataclass(slots=True)
class LambdaCall:
    """A verified control-plane request.

    Attributes:
        operation: Its API name.
        request: The request.
        name: The function's name or ARN as given; empty for operations on the account.
        identity: Who calls.
        region: The region it was signed for.
    """

    operation: str
    request: Request
    name: str
    identity: Identity
    region: str

    def body(self) -> dict[str, Any]:
        """Return the JSON body.

        Raises:
            AwsError: It is not a JSON object.
        """
        try:
            value = json.loads(self.request.body or b"{}")
        except ValueError:
            value = None
        if not isinstance(value, dict):
            raise AwsError(400, "SerializationException", "Could not parse request body into json")
        return value

    def require(self, action: str, resource: str) -> None:
        """Refuse the call unless its identity may do something.

        Args:
            action: Such as `lambda:GetFunction`.
            resource: The ARN.

        Raises:
            AwsError: AccessDeniedException.
        """
        if not self.identity.may(action, resource):
            raise AwsError(
                403,
                "AccessDeniedException",
                f"User: {self.identity.principal_arn} is not authorized to perform: {action} on "
                f"resource: {resource} because no identity-based policy allows the {action} action",
            )


class LambdaControl:
    """The functions and the operations that change them.

    Attributes:
        functions: All functions by region and name.
    """

    def __init__(self, account_id: str, identities: Identities, pool: Pool) -> None:
        self.functions: dict[tuple[str, str], Function] = {}
        self._account_id = account_id
        self._identities = identities
        self._pool = pool
        self._code_count = 0
        self._operations: dict[str, Callable[[LambdaCall], Response]] = {
            "CreateFunction": self._create,
            "GetFunction": self._get,
            "GetFunctionConfiguration": self._get_configuration,
            "ListFunctions": self._list,
            "UpdateFunctionCode": self._update_code,
            "UpdateFunctionConfiguration": self._update_configuration,
            "DeleteFunction": self._delete,
            "PutFunctionConcurrency": self._put_concurrency,
            "GetFunctionConcurrency": self._get_concurrency,
            "DeleteFunctionConcurrency": self._delete_concurrency,
            "PutFunctionEventInvokeConfig": self._put_event_config,
            "GetFunctionEventInvokeConfig": self._get_event_config,
            "GetAccountSettings": self._account_settings,
        }

    def execute(self, call: LambdaCall) -> Response:
        """Answer a control-plane request.

        Args:
            call: The request.

        Raises:
            AwsError: Whatever Lambda refuses.
        """
        return self._operations[call.operation](call)

    def find(self, call: LambdaCall, action: str) -> Function:
        """Return the function a call names, if its identity may do the action on it.

        Args:
            call: The call.
            action: Such as `lambda:GetFunction`.

        Raises:
            AwsError: AccessDeniedException or ResourceNotFoundException.
        """
        reference = FunctionReference.parse(call.name)
        region = reference.region or call.region
        arn = f"arn:aws:lambda:{region}:{self._account_id}:function:{reference.name}"
        call.require(action, arn)
        function = self.functions.get((region, reference.name))
        qualifier = call.request.query.get("Qualifier", reference.qualifier)
        if function is None or qualifier != "$LATEST" or region != call.region:
            suffix = "" if qualifier == "$LATEST" else f":{qualifier}"
            raise AwsError(404, "ResourceNotFoundException", f"Function not found: {arn}{suffix}")
        return function

    def add(self, function: Function, code: Any) -> None:
        """Keep a new function.

        Args:
            function: The function.
            code: Its code; None where a callable answers for it.
        """
        if code is not None:
            self._set_code(function, code)
        self.functions[function.region, function.name] = function

    def _set_code(self, function: Function, code: Any) -> None:
        self._code_count += 1
        function.set_code(code, self._pool.work_dir / f"code-{self._code_count}")
        self._pool.recycle(function)

    # -- operations --------------------------------------------------------------------------

    def _create(self, call: LambdaCall) -> Response:
        body = call.body()
        name = FunctionReference.parse(body.get("FunctionName", "")).name
        arn = f"arn:aws:lambda:{call.region}:{self._account_id}:function:{name}"
        call.require("lambda:CreateFunction", arn)
        role = self._role(call, body.get("Role", ""))
        if (call.region, name) in self.functions:
            raise AwsError(409, "ResourceConflictException", f"Function already exist: {name}")
        runtime = body.get("Runtime", "")
        if not runtime.startswith("python3."):
            raise _invalid(f"Value {runtime} at 'runtime' is not a Python runtime")
        code = _zip_bytes(body.get("Code", {}))
        function = Function(
            name=name,
            region=call.region,
            account_id=self._account_id,
            role=role,
            handler=body.get("Handler", ""),
            python=sys.executable,
            runtime=runtime,
            architecture=body.get("Architectures", ["x86_64"])[0],
        )
        _configure(function, body)
        self.add(function, code)
        return _json(201, function.configuration())

    def _get(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:GetFunction")
        value: dict[str, Any] = {
            "Configuration": function.configuration(),
            "Code": {"RepositoryType": "S3", "Location": "https://example.invalid/code.zip"},
        }
        if function.reserved is not None:
            value["Concurrency"] = {"ReservedConcurrentExecutions": function.reserved}
        return _json(200, value)

    def _get_configuration(self, call: LambdaCall) -> Response:
        return _json(200, self.find(call, "lambda:GetFunctionConfiguration").configuration())

    def _list(self, call: LambdaCall) -> Response:
        call.require("lambda:ListFunctions", "*")
        wanted = call.request.query.get("MaxItems", "50")
        if not wanted.isdigit() or wanted == "0":
            raise _invalid("MaxItems must be a positive number")
        most = min(int(wanted), limits.LIST_FUNCTIONS_PAGE)
        marker = call.request.query.get("Marker", "")
        names = sorted(name for region, name in self.functions if region == call.region)
        names = [name for name in names if name > marker]
        page = names[:most]
        value: dict[str, Any] = {
            "Functions": [self.functions[call.region, name].configuration() for name in page]
        }
        if len(names) > len(page):
            value["NextMarker"] = page[-1]
        return _json(200, value)

    def _update_code(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:UpdateFunctionCode")
        code = _zip_bytes(call.body())
        if not call.body().get("DryRun"):
            self._set_code(function, code)
        return _json(200, function.configuration())

    def _update_configuration(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:UpdateFunctionConfiguration")
        body = call.body()
        if "Role" in body:
            function.role = self._role(call, body["Role"])
        if "Handler" in body:
            function.handler = body["Handler"]
        if "Runtime" in body:
            function.runtime = body["Runtime"]
        _configure(function, body)
        function.touch()
        self._pool.recycle(function)
        return _json(200, function.configuration())

    def _delete(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:DeleteFunction")
        del self.functions[function.region, function.name]
        function.touch()
        self._pool.recycle(function)
        return Response(204)

    def _put_concurrency(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:PutFunctionConcurrency")
        wanted = call.body().get("ReservedConcurrentExecutions")
        if not isinstance(wanted, int) or wanted < 0:
            raise _invalid("ReservedConcurrentExecutions must be a number of at least 0")
        account = self._pool.scaling.settings.account_concurrency
        others = sum(each.reserved or 0 for each in self.functions.values() if each is not function)
        # Accounts (and tests) that have less than that minimum keep nothing aside.
        least = limits.UNRESERVED_MIN if account > limits.UNRESERVED_MIN else 0
        if account - others - wanted < least:
            raise _invalid(
                "Specified ReservedConcurrentExecutions for function decreases account's "
                f"UnreservedConcurrentExecution below its minimum value of [{least}]."
            )
        function.reserved = wanted
        return _json(200, {"ReservedConcurrentExecutions": wanted})

    def _get_concurrency(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:GetFunctionConcurrency")
        known = function.reserved is not None
        return _json(200, {"ReservedConcurrentExecutions": function.reserved} if known else {})

    def _delete_concurrency(self, call: LambdaCall) -> Response:
        self.find(call, "lambda:DeleteFunctionConcurrency").reserved = None
        return Response(204)

    def _put_event_config(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:PutFunctionEventInvokeConfig")
        body = call.body()
        retries = body.get("MaximumRetryAttempts", limits.EVENT_RETRIES)
        age_s = body.get("MaximumEventAgeInSeconds", limits.EVENT_AGE_MAX_S)
        if not 0 <= retries <= limits.EVENT_RETRIES:
            raise _invalid("MaximumRetryAttempts must be between 0 and 2")
        if not limits.EVENT_AGE_MIN_S <= age_s <= limits.EVENT_AGE_MAX_S:
            raise _invalid("MaximumEventAgeInSeconds must be between 60 and 21600")
        if any(body.get("DestinationConfig", {}).values()):
            raise _invalid("The fake has no destinations")
        function.max_retries = retries
        function.max_event_age_s = age_s
        function.event_config_at = time.time()
        return _json(200, _event_config(function))

    def _get_event_config(self, call: LambdaCall) -> Response:
        function = self.find(call, "lambda:GetFunctionEventInvokeConfig")
        if function.event_config_at is None:
            raise AwsError(
                404,
                "ResourceNotFoundException",
                f"The function {function.arn} doesn't have an EventInvokeConfig",
            )
        return _json(200, _event_config(function))

    def _account_settings(self, call: LambdaCall) -> Response:
        call.require("lambda:GetAccountSettings", "*")
        account = self._pool.scaling.settings.account_concurrency
        functions = self.functions.values()
        reserved = sum(function.reserved or 0 for function in functions)
        value = {
            "AccountLimit": {
                "TotalCodeSize": limits.CODE_TOTAL_MAX_BYTES,
                "CodeSizeUnzipped": limits.UNZIPPED_MAX_BYTES,
                "CodeSizeZipped": limits.ZIP_MAX_BYTES,
                "ConcurrentExecutions": account,
                "UnreservedConcurrentExecutions": account - reserved,
            },
            "AccountUsage": {
                "TotalCodeSize": sum(function.code_bytes for function in functions),
                "FunctionCount": len(functions),
            },
        }
        return _json(200, value)

    def _role(self, call: LambdaCall, arn: str) -> Identity:
        role = self._identities.by_name.get(arn.rpartition("/")[2])
        call.require("iam:PassRole", arn)
        if role is None or not role.is_role or role.arn != arn:
            raise _invalid("The role defined for the function cannot be assumed by Lambda.")
        return role


def _configure(function: Function, body: dict[str, Any]) -> None:
    """Take over the settings that Create and UpdateConfiguration share."""
    timeout_s = body.get("Timeout", function.timeout_s)
    memory_mb = body.get("MemorySize", function.memory_mb)
    variables = body.get("Environment", {}).get("Variables", function.environment)
    if not 1 <= timeout_s <= limits.TIMEOUT_MAX_S and "Timeout" in body:
        raise _invalid(f"Value {timeout_s} at 'timeout' must be between 1 and 900")
    if not limits.MEMORY_MIN_MB <= memory_mb <= limits.MEMORY_MAX_MB:
        raise _invalid(f"Value {memory_mb} at 'memorySize' must be between 128 and 10240")
    check_environment(variables)
    if len(json.dumps(variables)) > limits.ENVIRONMENT_MAX_BYTES:
        raise _invalid("Lambda was unable to configure your environment variables: above 4 KB.")
    function.timeout_s = timeout_s
    function.memory_mb = memory_mb
    function.environment = dict(variables)
    function.description = body.get("Description", function.description)


def _zip_bytes(code: dict[str, Any]) -> bytes:
    if "ZipFile" not in code:
        raise _invalid("The fake takes code as ZipFile only")
    try:
        data = base64.b64decode(code["ZipFile"], validate=True)
    except ValueError:
        raise AwsError(400, "SerializationException", "ZipFile is not base64") from None
    if len(data) > limits.ZIP_MAX_BYTES:
        raise AwsError(
            413, "RequestEntityTooLargeException", f"Request must be smaller than {len(data)} bytes"
        )
    return data


def _event_config(function: Function) -> dict[str, Any]:
    return {
        "LastModified": function.event_config_at,
        "FunctionArn": f"{function.arn}:$LATEST",
        "MaximumRetryAttempts": function.max_retries,
        "MaximumEventAgeInSeconds": function.max_event_age_s,
        "DestinationConfig": {"OnSuccess": {}, "OnFailure": {}},
    }


def _invalid(message: str) -> AwsError:
    return AwsError(400, "InvalidParameterValueException", message)


def _json(status: int, value: dict[str, Any]) -> Response:
    return Response(status, {"Content-Type": "application/json"}, json.dumps(value).encode())
