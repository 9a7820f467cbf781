"""From options to a CloudFormation template: bucket, role, functions, log groups. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from lambdafutures.deploy.bundle import HANDLER, NESTED_VARIABLES
from lambdafutures.deploy.layer import Layer
from lambdafutures.deploy.options import DISK_MB, Options
from lambdafutures.deploy.policy import worker_statements

Template = dict[str, Any]

# Durable jobs are fetched days after they ran; two weeks bridge a holiday. Lifecycle rules count
# whole days.
SESSION_DAYS = 14
# A blob that has expired is uploaded again when it is next needed.
BLOB_DAYS = 30
# A worker lives 15 minutes at most, so an upload a day old is dead. One day is the shortest.
UNFINISHED_UPLOAD_DAYS = 1
# One of the periods that CloudWatch Logs allows; as long as the outcomes that it explains.
LOG_DAYS = 14
# The longest that Lambda keeps an `Event` (AWS: 60-21,600 s). The payload carries the deadline that
# counts; a shorter age here would lose, without a word, calls whose client still waits.
EVENT_AGE_S = 21_600

TAG = "lambdafutures:deployment"
METADATA = "lambdafutures"
BUCKET = "Bucket"
FUNCTION_TYPE = "AWS::Lambda::Function"


def deployed_options(template: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options that a deployed template was made with, by name.

    Args:
        template: A template of ours.
    """
    known = template.get("Metadata", {}).get(METADATA, {})
    kept = ("memory_mb", "timeout_s", "arch", "nested", "disk_mb", "image")
    options = {field: known[field] for field in kept if field in known}
    if "layer" in known:
        options["layer"] = Layer.of_fields(known["layer"])
    return options


def code_key(prefix: str, sha256: str) -> str:
    """Return the key of the worker's zip.

    Args:
        prefix: Prefix of every key.
        sha256: SHA-256 of the zip, in hexadecimal.
    """
    return f"{worker_prefix(prefix)}{sha256}.zip"


def layer_key(prefix: str, layer: Layer) -> str:
    """Return the key of the zip with the packages that are deployed; empty if there are none.

    Args:
        prefix: Prefix of every key.
        layer: The packages.
    """
    return f"{worker_prefix(prefix)}packages/{layer.sha256}.zip" if layer else ""


def worker_prefix(prefix: str) -> str:
    """Return what the keys of all worker zips begin with."""
    return f"{prefix}/worker/"


def bucket_template(options: Options) -> Template:
    """Return the first half: CloudFormation must find the zip in the bucket before the rest.

    Args:
        options: What is to be deployed.
    """
    return {
        "AWSTemplateFormatVersion": "2010-09-09",
        "Description": f"lambdafutures deployment {options.name}",
        "Metadata": {
            METADATA: {
                "memory_mb": list(options.memory_mb),
                "timeout_s": options.timeout_s,
                "arch": options.arch,
                "python": options.python,
                "prefix": options.prefix,
                "nested": options.nested,
                **_beyond(options),
            }
        },
        "Resources": {BUCKET: _bucket(options)},
        "Outputs": {BUCKET: {"Value": {"Ref": BUCKET}}},
    }


def _beyond(options: Options) -> Template:
    """Return the options that most deployments do without."""
    disk = {"disk_mb": options.disk_mb} if options.disk_mb != DISK_MB[0] else {}
    layer = {"layer": options.layer.to_fields()} if options.layer else {}
    image = {"image": options.image} if options.image else {}
    return disk | layer | image


def full_template(options: Options, sha256: str, version: str) -> Template:
    """Return the whole template.

    Args:
        options: What is to be deployed.
        sha256: SHA-256 of the worker's zip, in hexadecimal.
        version: Version of lambdafutures in that zip.
    """
    template = bucket_template(options)
    template["Metadata"][METADATA] |= {"version": version, "code_sha256": sha256}
    resources = template["Resources"]
    resources["Role"] = _role(options)
    if options.layer:
        resources[_layer_name(options)] = _layer(options)
    for size, name in options.functions.items():
        suffix = logical_suffix(options.python, size, is_image=bool(options.image))
        resources[f"LogGroup{suffix}"] = _log_group(options, name)
        resources[f"Function{suffix}"] = _function(options, size, name, sha256)
        resources[f"Events{suffix}"] = _events(suffix)
    return template


def logical_suffix(python: str, size: int, *, is_image: bool = False) -> str:
    """Return what tells the resources of one function from another's.

    The Python version is part of it, so that a new one makes new resources and removes the old.

    Args:
        python: Minor version of Python.
        size: Memory in MB.
        is_image: It runs a container image.
    """
    return f"Py{python.replace('.', '')}{'Image' if is_image else ''}M{size}"


def without_functions(template: Mapping[str, Any], names: Iterable[str]) -> Template:
    """Return a deployed template less the functions that somebody has deleted.

    CloudFormation believes that they exist; taken out and put in again they are made anew.

    Args:
        template: The template as deployed.
        names: The functions' names.
    """
    gone = set(names)
    resources = dict(template["Resources"])
    for logical, resource in template["Resources"].items():
        is_function = resource["Type"] == FUNCTION_TYPE
        if is_function and resource["Properties"]["FunctionName"] in gone:
            suffix = logical.removeprefix("Function")
            for kind in ("Function", "Events"):
                resources.pop(f"{kind}{suffix}", None)
    return {**template, "Resources": resources}


def _tags(options: Options) -> list[dict[str, str]]:
    return [{"Key": TAG, "Value": options.name}]


def _bucket(options: Options) -> Template:
    def expire(what: str, days: int) -> Template:
        return {
            "Id": f"expire-{what}",
            "Status": "Enabled",
            "Prefix": f"{options.prefix}/{what}/",
            "ExpirationInDays": days,
        }

    # No name: CloudFormation makes one up that nobody can have taken before.
    return {
        "Type": "AWS::S3::Bucket",
        "Properties": {
            "PublicAccessBlockConfiguration": {
                "BlockPublicAcls": True,
                "BlockPublicPolicy": True,
                "IgnorePublicAcls": True,
                "RestrictPublicBuckets": True,
            },
            "OwnershipControls": {"Rules": [{"ObjectOwnership": "BucketOwnerEnforced"}]},
            "BucketEncryption": {
                "ServerSideEncryptionConfiguration": [
                    {"ServerSideEncryptionByDefault": {"SSEAlgorithm": "AES256"}}
                ]
            },
            "LifecycleConfiguration": {
                "Rules": [
                    expire("sessions", SESSION_DAYS),
                    expire("blobs", BLOB_DAYS),
                    {
                        "Id": "abort-unfinished-uploads",
                        "Status": "Enabled",
                        "AbortIncompleteMultipartUpload": {
                            "DaysAfterInitiation": UNFINISHED_UPLOAD_DAYS
                        },
                    },
                ]
            },
            "Tags": _tags(options),
        },
    }


def _role(options: Options) -> Template:
    account = "${AWS::Region}:${AWS::AccountId}"
    names = options.functions.values()
    statements = worker_statements(
        "${Bucket.Arn}",
        options.prefix,
        [f"arn:${{AWS::Partition}}:lambda:{account}:function:{name}" for name in names],
        [f"arn:${{AWS::Partition}}:logs:{account}:log-group:{log_group_name(n)}" for n in names],
    )
    for statement in statements:
        statement["Resource"] = [{"Fn::Sub": arn} for arn in statement["Resource"]]
    return {
        "Type": "AWS::IAM::Role",
        "Properties": {
            "AssumeRolePolicyDocument": {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"Service": "lambda.amazonaws.com"},
                        "Action": "sts:AssumeRole",
                    }
                ],
            },
            "Policies": [
                {
                    "PolicyName": "worker",
                    "PolicyDocument": {"Version": "2012-10-17", "Statement": statements},
                }
            ],
            "Tags": _tags(options),
        },
    }


def log_group_name(function: str) -> str:
    """Return the log group that Lambda writes to for a function.

    Args:
        function: The function's name.
    """
    return f"/aws/lambda/{function}"


def _log_group(options: Options, function: str) -> Template:
    return {
        "Type": "AWS::Logs::LogGroup",
        "Properties": {
            "LogGroupName": log_group_name(function),
            "RetentionInDays": LOG_DAYS,
            "Tags": _tags(options),
        },
    }


def _function(options: Options, size: int, name: str, sha256: str) -> Template:
    suffix = logical_suffix(options.python, size, is_image=bool(options.image))
    more: Template = {}
    if options.nested:
        more["Environment"] = {"Variables": dict(NESTED_VARIABLES)}
    if options.disk_mb != DISK_MB[0]:
        more["EphemeralStorage"] = {"Size": options.disk_mb}
    if options.layer:
        more["Layers"] = [{"Ref": _layer_name(options)}]
    return {
        "Type": FUNCTION_TYPE,
        # Removed before its log group, which it could not write to otherwise.
        "DependsOn": [f"LogGroup{suffix}"],
        "Properties": {
            "FunctionName": name,
            "Description": f"Worker of the lambdafutures deployment {options.name}",
            "Architectures": [options.arch],
            "MemorySize": size,
            "Timeout": options.timeout_s,
            "Role": {"Fn::GetAtt": ["Role", "Arn"]},
            "Tags": _tags(options),
            **_code(options, sha256),
            **more,
        },
    }


def _code(options: Options, sha256: str) -> Template:
    if options.image:
        return {
            "PackageType": "Image",
            "Code": {"ImageUri": options.image},
            "ImageConfig": {"Command": [HANDLER]},
        }
    return {
        "Runtime": f"python{options.python}",
        "Handler": HANDLER,
        "Code": {"S3Bucket": {"Ref": BUCKET}, "S3Key": code_key(options.prefix, sha256)},
    }


def _layer_name(options: Options) -> str:
    # Its content is part of its name: a layer's version cannot be changed, only replaced.
    return f"Packages{options.layer.sha256[:12]}"


def _layer(options: Options) -> Template:
    return {
        "Type": "AWS::Lambda::LayerVersion",
        "Properties": {
            "LayerName": f"{options.name}-packages",
            "Description": f"Packages of the lambdafutures deployment {options.name}",
            "CompatibleRuntimes": [f"python{options.python}"],
            "CompatibleArchitectures": [options.arch],
            "Content": {
                "S3Bucket": {"Ref": BUCKET},
                "S3Key": layer_key(options.prefix, options.layer),
            },
        },
    }


def _events(suffix: str) -> Template:
    return {
        "Type": "AWS::Lambda::EventInvokeConfig",
        "Properties": {
            "FunctionName": {"Ref": f"Function{suffix}"},
            "Qualifier": "$LATEST",
            "MaximumRetryAttempts": 0,
            "MaximumEventAgeInSeconds": EVENT_AGE_S,
        },
    }
