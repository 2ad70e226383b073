"""A report says which source, versions and machine its numbers are of, and never fails over it."""

import json
import subprocess
import time

import pytest

import bpjax.report.environment as environment
from bpjax.report.environment import Source, describe_environment, find_source, name_machine


def git(folder, *arguments):
    who = ("-c", "user.name=a", "-c", "user.email=a@b")
    command = ["git", *who, *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path):
    """A package in a checkout of its own."""
    folder = tmp_path / "checkout" / "package"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("one = 1\n")
    (folder.parent / "notes.txt").write_text("first\n")
    git(folder.parent, "init", "--quiet")
    git(folder.parent, "add", "--all")
    git(folder, "commit", "--quiet", "--message=first")
    return folder


def test_it_names_source_versions_device_and_cores():
    found = describe_environment()
    assert found["versions"]["jax"].count(".") >= 2
    assert found["cores"] >= 1 and found["device"]
    assert {"commit", "dirty"} <= found.keys()
    assert name_machine(found).startswith(found["device"].split()[0].removesuffix("(R)"))
    json.dumps(found)


def test_the_commit_and_whether_tracked_files_differ(package):
    commit = git(package, "rev-parse", "HEAD")
    assert find_source(package) == Source(commit, dirty=False)
    (package / "scratch.py").write_text("two = 2\n")  # not tracked
    (package.parent / "notes.txt").write_text("second\n")  # not of the package
    assert find_source(package) == Source(commit, dirty=False)
    (package / "__init__.py").write_text("one = 2\n")
    assert find_source(package) == Source(commit, dirty=True)


def test_a_hook_of_another_repository_does_not_mislead(package, tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    assert find_source(package).commit


def test_a_package_installed_inside_another_checkout_has_no_commit(package):
    installed = package / ".venv" / "installed"
    installed.mkdir(parents=True)
    (installed / "__init__.py").touch()
    assert find_source(installed) == Source()


def test_without_checkout_or_folder_or_commit_there_is_none(tmp_path):
    assert find_source(tmp_path) == find_source(tmp_path / "nothing") == Source()
    git(tmp_path, "init", "--quiet")
    (tmp_path / "__init__.py").touch()
    git(tmp_path, "add", "__init__.py")
    assert find_source(tmp_path) == Source()


def test_without_git_there_is_none(package, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path / "empty"))
    assert find_source(package) == Source()


def test_a_git_that_hangs_is_not_waited_for(package, tmp_path, monkeypatch):
    (tmp_path / "git").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(environment, "_GIT_SECONDS", 0.1)
    started = time.monotonic()
    assert find_source(package) == Source()
    assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    ("found", "name"),
    [
        ({"device": "AMD EPYC", "cores": 2, "backend": "cpu"}, "AMD EPYC, 2 cores"),
        ({"device": "Intel(R) Xeon(R) Processor", "cores": 1}, "Intel Xeon, 1 core"),
        ({"device": "Intel(R) Xeon(R) CPU @ 2.20GHz", "cores": 4}, "Intel Xeon @ 2.20GHz, 4 cores"),
        ({"device": "AMD EPYC 7543 32-Core Processor", "cores": 8}, "AMD EPYC 7543, 8 cores"),
        ({"device": "AMD EPYC", "cores": 2, "devices": 8}, "AMD EPYC, 2 cores"),  # simulated
        ({"device": "NVIDIA H100", "cores": 9, "backend": "gpu", "devices": 1}, "NVIDIA H100"),
        ({"device": "TPU v5e", "cores": 9, "backend": "tpu", "devices": 4}, "4 x TPU v5e"),
        ({"cores": 2}, "2 cores"),
        ({}, "not recorded"),
    ],
)
def test_a_machine_has_a_short_name(found, name):
    assert name_machine(found) == name
