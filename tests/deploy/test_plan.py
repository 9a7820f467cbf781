"""From what is there to the steps, and from options to the template."""

from __future__ import annotations

import json
from collections import OrderedDict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lambdafutures.deploy import plan, template
from lambdafutures.deploy.bundle import Bundle
from lambdafutures.deploy.errors import DeployError
from lambdafutures.deploy.options import MEMORY_MB, Options, check_name
from lambdafutures.deploy.plan import Action, Found

SNAPSHOT = Path(__file__).with_name("template.json")
SHA256 = "ab" * 32

WANTED = plan.draw(Options(python="3.12"), Bundle(b"zip", ()), "0.1.0")
CURRENT = Found(
    status="UPDATE_COMPLETE",
    owned=True,
    template=WANTED.template,
    bucket="b",
    has_code=True,
)


def actions(found: Found) -> list[Action]:
    return [step.action for step in plan.plan_steps(found, WANTED)]


def but(**changes) -> Found:
    fields = {name: getattr(CURRENT, name) for name in CURRENT.__slots__}
    return Found(**(fields | changes))


NEW = [Action.CREATE, Action.UPLOAD, Action.UPDATE]


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(Found(), NEW, id="nothing there"),
        pytest.param(CURRENT, [], id="all there"),
        pytest.param(but(status="CREATE_COMPLETE"), [], id="all there, made at once"),
        pytest.param(
            but(template=WANTED.first, has_code=False, status="CREATE_COMPLETE"),
            [Action.UPLOAD, Action.UPDATE],
            id="killed after the first step",
        ),
        pytest.param(but(template={}), [Action.UPDATE], id="another template"),
        pytest.param(but(has_code=False), [Action.UPLOAD], id="zip deleted"),
        pytest.param(but(missing=("f",)), [Action.STRIP, Action.UPDATE], id="function deleted"),
        pytest.param(but(amiss=("f",)), [Action.MEND], id="function changed"),
        pytest.param(but(bucket="", has_code=False), [Action.REMOVE, *NEW], id="bucket deleted"),
        pytest.param(but(status="ROLLBACK_COMPLETE"), [Action.REMOVE, *NEW], id="failed before"),
        pytest.param(but(status="DELETE_FAILED"), [Action.REMOVE, *NEW], id="half destroyed"),
        pytest.param(but(status="UPDATE_ROLLBACK_COMPLETE"), [Action.UPDATE], id="rolled back"),
    ],
)
def test_steps(found, expected):
    assert actions(found) == expected


@pytest.mark.parametrize(
    ("found", "complaint"),
    [
        (but(owned=False), "choose another --name"),
        (but(strangers=("function f",)), "function f exist already"),
        (but(status="UPDATE_IN_PROGRESS"), "lambdafutures status --name lambdafutures"),
        (but(status="UPDATE_ROLLBACK_FAILED"), "continue-update-rollback"),
    ],
)
def test_what_is_refused_says_what_to_do(found, complaint):
    with pytest.raises(DeployError, match=complaint):
        plan.plan_steps(found, WANTED)


def test_templates_are_compared_by_content():
    """As boto3 returns them: ordered, whatever the order."""
    turned = OrderedDict(reversed(WANTED.template.items()))
    assert plan.same(turned, WANTED.template)
    assert not plan.same(None, WANTED.template)


def test_options_not_given_stay_as_deployed():
    deployed = template.full_template(
        Options(memory_mb=(512, 1024), timeout_s=60, arch="arm64", python="3.11"), SHA256, "0"
    )
    given = {"memory_mb": None, "timeout_s": 30, "arch": None}
    options = plan.choose_options("x", given, json.loads(json.dumps(deployed)))
    assert options.memory_mb == (512, 1024)
    assert options.timeout_s == 30
    assert options.arch == "arm64"
    assert options.python == Options().python, "the client's Python, not the old one"


@given(st.sets(st.sampled_from(MEMORY_MB), min_size=1, max_size=16), st.booleans())
def test_any_template_holds_together(sizes, is_arm):
    """References lead somewhere, names fit Lambda, the request fits CloudFormation."""
    arch = "arm64" if is_arm else "x86_64"
    options = Options(name="n" * 40, memory_mb=tuple(sizes), arch=arch, python="3.14")
    made = template.full_template(options, SHA256, "0.1.0")
    resources = made["Resources"]
    assert sorted(options.functions) == list(options.functions) == sorted(sizes)
    assert len(json.dumps(made, separators=(",", ":"))) < 51_200
    for resource in resources.values():
        assert set(resource.get("DependsOn", ())) <= set(resources)
        if resource["Type"] == "AWS::Lambda::Function":
            assert len(resource["Properties"]["FunctionName"]) <= 64
    assert set(references(made)) <= set(resources)


def references(value):
    if isinstance(value, dict):
        if set(value) == {"Ref"}:
            yield value["Ref"]
        elif set(value) == {"Fn::GetAtt"}:
            yield value["Fn::GetAtt"][0]
        else:
            for inner in value.values():
                yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_without_functions_keeps_all_else():
    options = Options(memory_mb=(512, 1024), python="3.12")
    whole = template.full_template(options, SHA256, "0")
    less = template.without_functions(whole, ["lambdafutures-py312-512"])
    gone = set(whole["Resources"]) - set(less["Resources"])
    assert gone == {"FunctionPy312M512", "EventsPy312M512"}
    assert "FunctionPy312M512" in whole["Resources"], "the original is not changed"


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"memory_mb": (64,)}, "--memory 64 is not between 128 and 10240"),
        ({"memory_mb": ()}, "--memory takes between 1 and 16 sizes"),
        ({"timeout_s": 901}, "--timeout 901"),
        ({"arch": "sparc"}, "--arch sparc is not x86_64 or arm64"),
        ({"python": "3.10"}, "3.11, 3.12, 3.13, 3.14, not 3.10"),
        ({"name": "My_App"}, "--name 'My_App' must be"),
    ],
)
def test_bad_options_are_refused(options, complaint):
    with pytest.raises(ValueError, match=complaint):
        Options(**options)


@given(st.text(max_size=50))
def test_names_fit_everything_that_is_named_after_them(name):
    try:
        check_name(name)
    except ValueError:
        return
    assert name.isascii()
    assert name == name.lower()
    assert 1 <= len(name) <= 40
    assert name[0].isalpha()


def test_the_template_is_pinned():
    """A change of the template changes every deployment: it must be meant.

    To accept one: python -m tests.deploy.test_plan
    """
    assert pinned() == json.loads(SNAPSHOT.read_text())


def pinned():
    options = Options(memory_mb=(1769, 3008), python="3.12")
    return template.full_template(options, SHA256, "0.1.0")


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(pinned(), indent=2) + "\n")
