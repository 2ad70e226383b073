"""A test that is skipped for a reason that is not listed fails."""

import pytest
import skips

pytest_plugins = ["pytester"]

FILE = """
import pytest

{top}

@pytest.fixture
def data():
    pytest.skip("needs data")

def test_with(data):
    pass

@pytest.mark.skipif(True, reason="not here")
def test_marked():
    pass

@pytest.mark.xfail
def test_expected_to_fail():
    assert False

def test_passes():
    pass
"""


@pytest.fixture
def outcomes(pytester, monkeypatch):
    """Runs a file under the rule; counts by outcome."""

    def outcomes(allowed, top=""):
        monkeypatch.setattr(skips, "ALLOWED", allowed)
        pytester.makepyfile(test_it=FILE.format(top=top))
        return pytester.runpytest_inprocess(plugins=[skips]).parseoutcomes()

    return outcomes


def test_what_is_not_listed_fails(outcomes):
    assert outcomes(()) == {"errors": 2, "xfailed": 1, "passed": 1}


def test_what_is_listed_is_skipped(outcomes):
    allowed = (("test_it.py::test_with", "needs data"), ("test_it.py::*", "not here"))
    assert outcomes(allowed) == {"skipped": 2, "xfailed": 1, "passed": 1}


def test_another_reason_or_another_test_is_not_listed(outcomes):
    allowed = (("test_it.py::test_with", "needs time"), ("test_it.py::test_with", "not here"))
    assert outcomes(allowed) == {"errors": 2, "xfailed": 1, "passed": 1}


def test_a_whole_file_that_is_not_listed_fails(outcomes):
    top = "pytest.importorskip('no_such_module', reason='needs no_such_module')"
    assert outcomes((), top)["errors"] == 1
    assert outcomes((("test_it.py", "needs no_such"),), top) == {"skipped": 1}


def test_every_listed_pattern_is_of_a_file_that_is_there(request):
    for pattern, _ in skips.ALLOWED:
        assert list(request.config.rootpath.glob(pattern.partition("::")[0])), pattern
