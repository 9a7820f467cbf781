"""`lambdafutures deploy --requirements`: packages that every worker has."""

from __future__ import annotations

import json
import shlex
import sys

import pytest

import lambdafutures
from lambdafutures import LambdaPoolExecutor
from lambdafutures._environment.target import Target
from lambdafutures.cli import main
from lambdafutures.cli.status import _describe
from lambdafutures.deploy import bundle, layer, plan, template
from lambdafutures.deploy.checks import Judge
from lambdafutures.deploy.options import Options
from lambdafutures.deploy.policy import Place
from lambdafutures.deploy.status import FunctionStatus
from lambdafutures.deployment import find_deployment
from lambdafutures.exceptions import PackageError
from tests.environment.wheels import make_wheel, unpack


@pytest.fixture
def command(capsys):
    def run(*arguments: str) -> tuple[int, str, str]:
        status = main(["deploy", *arguments])
        printed = capsys.readouterr()
        return status, printed.out, printed.err

    return run


def test_deployed_packages_are_there_until_they_are_taken_back(cloud, index, site, command):
    wheel = make_wheel(index, "small", "1.0")
    unpack(wheel, site)
    make_wheel(index, "other", "2.0", requires=["small"])
    listed = index / "requirements.txt"
    listed.write_text("other\n")
    status, out, _ = command("--yes", "--requirements", str(listed), "--disk", "1024")
    assert status == 0, out
    assert "upload the packages other 2.0, small 1.0" in out
    deployment = find_deployment()
    assert deployment.packages == {"other": "2.0", "small": "1.0"}
    import small

    def versions():
        import other

        return other.VERSION, small.VERSION

    def version():
        import small

        return small.VERSION

    with LambdaPoolExecutor(1, backend="aws") as ex:
        assert ex.submit(versions).result() == ("2.0", "1.0")
    # What is not given stays; nothing is built or uploaded.
    status, out, err = command("--yes")
    assert (status, err) == (0, "")
    assert "nothing to change" in out
    assert find_deployment() == deployment
    # Packages that travel come before those that were deployed.
    make_wheel(index, "small", "3.0")
    with LambdaPoolExecutor(1, backend="aws", requirements=["small"]) as ex:
        assert ex.submit(version).result() == "3.0"
    status, out, _ = command("--yes", "--no-requirements")
    assert status == 0, out
    assert find_deployment().packages == {}
    with LambdaPoolExecutor(1, backend="aws") as ex:
        error = ex.submit(versions).exception()
        assert isinstance(error, PackageError), "it is known before anything is sent"
        assert "the worker lacks the package small, which the client has as 1.0" in str(error)
        assert isinstance(ex.submit(version).exception(), ModuleNotFoundError)


def test_the_template_with_packages(index, command, no_aws):
    make_wheel(index, "small", "1.0")
    project = index / "pyproject.toml"
    project.write_text("[project]\nname = 'x'\ndependencies = ['small']\n")
    status, out, _ = command(
        "--print-template", "--requirements", str(project), "--disk", "2048", "--arch", "arm64"
    )
    assert status == 0
    whole = json.loads(out)
    (logical,) = (name for name in whole["Resources"] if name.startswith("Packages"))
    made = whole["Resources"][logical]["Properties"]
    python = Target.here().python
    assert made["CompatibleRuntimes"] == [f"python{python}"]
    assert made["CompatibleArchitectures"] == ["arm64"]
    key = made["Content"]["S3Key"]
    (function,) = (
        each["Properties"]
        for each in whole["Resources"].values()
        if each["Type"] == template.FUNCTION_TYPE
    )
    assert function["Layers"] == [{"Ref": logical}]
    assert function["EphemeralStorage"] == {"Size": 2048}
    # A later deployment keeps it all.
    again = plan.choose_options("lambdafutures", {}, whole)
    assert again.disk_mb == 2048
    assert dict(again.layer.packages) == {"small": "1.0"}
    assert again.layer.requirements == ("small",)
    assert key == template.layer_key("lambdafutures", again.layer)
    assert again.layer.target == str(Target.of_lambda(python, "arm64"))


def test_a_deployment_without_packages_is_what_it_was():
    plain = template.full_template(Options(), "0" * 64, "1")
    text = json.dumps(plain)
    assert "layer" not in plain["Metadata"]["lambdafutures"]
    assert "Layers" not in text
    assert "EphemeralStorage" not in text


def test_a_lost_layer_is_built_again(index, monkeypatch, tmp_path):
    make_wheel(index, "small", "1.0")
    target = Options().target
    made, data = layer.build(layer.pinned({"small": "1.0"}), target)
    monkeypatch.setenv("LAMBDAFUTURES_HOME", str(tmp_path / "elsewhere"))
    assert layer.build_again(made, target) == data
    make_wheel(index, "small", "1.0", {"small.py": "changed = True"})
    monkeypatch.setenv("LAMBDAFUTURES_HOME", str(tmp_path / "another"))
    with pytest.raises(layer.DeployError, match="give --requirements again"):
        layer.build_again(made, target)


def test_too_much_for_a_layer_is_refused(index, command, monkeypatch, no_aws):
    make_wheel(index, "small", "1.0")
    monkeypatch.setattr(layer, "MAX_BYTES", 10)
    listed = index / "requirements.txt"
    listed.write_text("small")
    status, _, err = command("--print-template", "--requirements", str(listed))
    assert status == 1
    assert "LambdaPoolExecutor(requirements=...)" in err


@pytest.mark.parametrize("size", ["511", "10241"])
def test_the_disk_has_a_size_that_lambda_allows(command, no_aws, size):
    status, _, err = command("--print-template", "--disk", size)
    assert (status, err) == (
        1,
        f"lambdafutures: --disk {size} is not between 512 and 10240 MB\n",
    )


def test_an_environment_is_what_is_installed(site):
    unpack(make_wheel(site, "small", "1.5"), site)
    lines = layer.of_environment().lines
    assert "small==1.5" in lines
    names = {line.partition("==")[0] for line in lines}
    assert "pytest" in names
    assert not names & {"pip", "setuptools", "cloudpickle", "lambdafutures"}
    assert sys.modules.get("small") is None


# -------------------------------------------------------------------- images

URI = "123456789012.dkr.ecr.us-east-1.amazonaws.com/work:1"


def test_the_template_with_an_image(command, no_aws):
    status, out, _ = command("--print-template", "--image", URI, "--memory", "512", "1024")
    assert status == 0
    whole = json.loads(out)
    functions = {
        name: each["Properties"]
        for name, each in whole["Resources"].items()
        if each["Type"] == template.FUNCTION_TYPE
    }
    python = Target.here().python.replace(".", "")
    assert set(functions) == {f"FunctionPy{python}ImageM{size}" for size in (512, 1024)}
    for size, function in zip((512, 1024), functions.values(), strict=True):
        assert function["FunctionName"] == f"lambdafutures-py{python}i-{size}"
        assert function["PackageType"] == "Image"
        assert function["Code"] == {"ImageUri": URI}
        assert function["ImageConfig"] == {"Command": [bundle.HANDLER]}
        assert not {"Runtime", "Handler", "Layers"} & set(function)
    for name, each in whole["Resources"].items():
        for other in each.get("DependsOn", ()):
            assert other in whole["Resources"], name
    again = plan.choose_options("lambdafutures", {}, whole)
    assert again.image == URI
    assert not plan.choose_options("lambdafutures", {"image": ""}, whole).image


def test_an_image_brings_its_own_packages(index, command, no_aws):
    make_wheel(index, "small", "1.0")
    listed = index / "requirements.txt"
    listed.write_text("small\n")
    status, _, err = command("--print-template", "--image", URI, "--requirements", str(listed))
    assert status == 1
    assert "an --image brings its own packages: name them in its Dockerfile" in err


def test_the_dockerfile_is_printed(tmp_path, command, no_aws):
    listed = tmp_path / "requirements.txt"
    listed.write_text(
        "numpy>=2 ; python_version > '3'\nsix\n--index-url https://example.com/simple\n"
    )
    status, out, err = command(
        "--print-dockerfile", "--requirements", str(listed), "--arch", "arm64"
    )
    assert (status, err) == (0, "")
    python = Target.here().python
    lines = out.splitlines()
    assert lines[0].startswith("# docker build --platform linux/arm64 --provenance=false -t URI .")
    assert lines[1:3] == [
        "# lambdafutures deploy --image URI",
        f"FROM public.ecr.aws/lambda/python:{python}",
    ]
    command_line = " ".join(line.rstrip("\\").strip() for line in lines[3:-1])
    written, _, install = command_line.rpartition(" > ")
    # Lines of a file, not arguments: options and hashes are for files only.
    assert shlex.split(written) == [
        "RUN",
        "printf",
        r"%s\n",
        f"lambdafutures=={lambdafutures.__version__}",
        "--index-url https://example.com/simple",
        "numpy>=2 ; python_version > '3'",
        "six",
    ]
    file = "/tmp/requirements.txt"
    assert install == f"{file} && pip install --no-cache-dir -r {file}"
    assert lines[-1] == f'CMD ["{bundle.HANDLER}"]'


def test_doctor_and_status_know_images():
    answer = {"PackageType": "Image", "MemorySize": 512, "CodeSha256": "x"}
    judge = Judge("x", "r", "", None, None, Place("aws", "r", "1"))
    assert judge.judge_function("f", "3.11", answer).finding == "a container image, 512 MB"
    assert judge.judge_code("f", "y", answer).finding == "in the container image"
    told = _describe(FunctionStatus("f", "image", 512, 60, "arm64", "x"), "y")
    assert told == "image, arm64, 512 MB, 60 s"
