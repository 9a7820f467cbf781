"""Both stand-ins for AWS: the strict fake with the worker deployed, and ministack; a project."""

from __future__ import annotations

import os
import sys

import pytest

from lambdafutures._environment import distributions
from tests.deploy.conftest import cloud, ministack, no_aws
from tests.environment import project

__all__ = ["cloud", "ministack", "no_aws"]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """The project on the import path of this process; its modules are forgotten afterwards."""
    folder = project.write(tmp_path / "project")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in list(sys.modules):
        if name.partition(".")[0] in project.NAMES:
            del sys.modules[name]


@pytest.fixture
def plain(make_aws, tmp_path):
    """A deployment without the layer that tests usually have: what is called must travel."""
    aws = make_aws()
    aws._layer = tmp_path / "empty"
    aws._layer.mkdir()
    aws.deploy()
    return aws


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index of this test's own, which uv and pip both use, and no other."""
    folder = tmp_path / "index"
    folder.mkdir()
    for name in [name for name in os.environ if name.startswith(("PIP_", "UV_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    settings = tmp_path / "uv.toml"
    settings.write_text(f'no-index = true\nfind-links = ["{folder}"]\n')
    monkeypatch.setenv("UV_CONFIG_FILE", str(settings))
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_NO_CACHE", "1")
    return folder


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder of packages that this process has."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    distributions._owners.cache_clear()
    before = set(sys.modules)
    yield folder
    for name in set(sys.modules) - before:
        file = getattr(sys.modules[name], "__file__", None) or ""
        if file.startswith(str(folder)):
            del sys.modules[name]
    distributions._owners.cache_clear()


@pytest.fixture(scope="session")
def _shared_home(tmp_path_factory):
    return tmp_path_factory.mktemp("shared-home")


@pytest.fixture
def shared_home(_shared_home, monkeypatch):
    """A home that tests share, for packages that take long to build."""
    monkeypatch.setenv("LAMBDAFUTURES_HOME", str(_shared_home))
