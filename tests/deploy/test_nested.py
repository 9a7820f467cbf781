"""Executors opened in workers, on the strict fake: its functions find the zip and nothing else."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
import zipfile

import pytest

from lambdafutures import LambdaPoolExecutor
from lambdafutures.deploy import bundle, plan, template
from lambdafutures.deploy.options import running_python
from lambdafutures.deploy.policy import Place, client_statements, worker_statements
from lambdafutures.deployment import Deployment, remember
from lambdafutures.exceptions import MissingExtra
from tests.strict_aws import StrictAws

FUNCTION = "worker"


@pytest.fixture(scope="module")
def nested_zip():
    return bundle.build(nested=True)


@pytest.fixture(scope="module")
def strict():
    with StrictAws(buckets=["jobs"]) as aws:
        yield aws


@pytest.fixture
def deploy(strict, no_aws, monkeypatch):
    """Deploy a zip by the permissions that a deployment gives; clients have theirs."""
    with contextlib.ExitStack() as stack:

        def run(zipped: bundle.Bundle, **environment: str) -> Deployment:
            place = Place("aws", strict.region, strict.account_id)
            statements = worker_statements(
                place.bucket_arn("jobs"), "lambdafutures", [place.function_arn(FUNCTION)], []
            )
            made = Deployment(
                "d", strict.region, "jobs", {1769: FUNCTION}, running_python(), 5, timeout_s=30
            )
            strict.create_function(
                FUNCTION,
                zipped.data,
                bundle.HANDLER,
                role=strict.identity("role", statements[:-1], is_role=True),
                environment=environment,
            )
            client = strict.identity("client", client_statements(made, place))
            for name, value in strict.environ(client).items():
                monkeypatch.setenv(name, value)
            monkeypatch.setenv("LAMBDAFUTURES_DEPLOYMENT", "d")
            remember(made)
            stack.callback(strict.delete_function, FUNCTION)
            return made

        yield run


def ask_in_worker():
    """Return what an executor opened in a worker says and does."""

    def open_another(base):
        from lambdafutures import LambdaPoolExecutor

        with LambdaPoolExecutor() as ex:
            return repr(ex), list(ex.map(pow, base, base))

    with LambdaPoolExecutor(1) as ex:
        return ex.submit(open_another, [1, 2, 3]).result(60)


def test_an_executor_opened_in_a_worker_uses_the_same_deployment(deploy, nested_zip):
    deploy(nested_zip, **bundle.NESTED_VARIABLES)
    said, results = ask_in_worker()
    assert "backend=aws (deployment 'd' is set up) max_workers=5>" in said
    assert results == [1, 4, 27]


def test_a_chain_that_is_too_deep_is_told(deploy, nested_zip, monkeypatch):
    deploy(nested_zip, **bundle.NESTED_VARIABLES)
    monkeypatch.setenv("LAMBDAFUTURES_DEPTH", "14")
    with pytest.raises(RuntimeError, match="executors are nested 16 deep, more than 15"):
        ask_in_worker()


def test_what_is_missing_is_told_with_the_command_that_brings_it(deploy):
    deploy(bundle.build())
    with pytest.raises(MissingExtra, match="run `lambdafutures deploy --nested`"):
        ask_in_worker()


def test_the_nested_zip_is_complete_and_of_no_platform(nested_zip, tmp_path):
    """The invoker is imported from nothing but the zip, and nothing compiled takes part."""
    assert not any(name.endswith((".so", ".pyd", ".dylib")) for name in nested_zip.names)
    assert nested_zip.data == bundle.build(nested=True).data
    assert len(nested_zip.data) < 12e6
    with zipfile.ZipFile(io.BytesIO(nested_zip.data)) as archive:
        archive.extractall(tmp_path)
    done = subprocess.run(
        [sys.executable, "-S", "-c", "import lambdafutures._backends.lambda_invoker"],
        env={"PYTHONPATH": str(tmp_path), **bundle.NESTED_VARIABLES},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr


def test_the_functions_of_a_nested_deployment_use_no_compiled_parts():
    options = plan.choose_options("d", {"nested": True}, None)
    made = template.full_template(options, "ab", "0")
    (function,) = (
        r["Properties"] for r in made["Resources"].values() if r["Type"] == template.FUNCTION_TYPE
    )
    assert function["Environment"] == {"Variables": bundle.NESTED_VARIABLES}
    assert plan.choose_options("d", {}, made).nested, "a later deploy keeps it"
    assert not plan.choose_options("d", {"nested": False}, made).nested
