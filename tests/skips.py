"""Which tests may be skipped, and why: a skip that is not listed here is a failure.

Else a test that is never run anywhere looks like one that passes.
"""

import fnmatch

import pytest

# Pattern of test ids, and how the reason begins.
ALLOWED = (
    ("tests/tasks/*::test_real_*", "needs the official data sets in ../shared/data"),
    ("tests/report/test_page.py::*", "needs chromium in the path"),
    ("tests/test_runtime.py::*", "glibc only"),
    ("tests/parity/*", "needs: pip install bpjax[torch]"),
    ("tests/parity/*", "needs: pip install bpjax[onnx]"),
    ("tests/parity/*", "needs: pip install --no-deps sentence-transformers"),
    ("tests/parity/test_hf_*.py::*", "needs BPJAX_OLD_TRANSFORMERS"),
)


def is_allowed(test, reason):
    """Whether the test of this id may be skipped for this reason."""
    return any(
        fnmatch.fnmatchcase(test, pattern) and reason.startswith(begin)
        for pattern, begin in ALLOWED
    )


def _fail_if_not_listed(report):
    # An expected failure is reported as a skip too, but it was run.
    if report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2].removeprefix("Skipped: ")
        if not is_allowed(report.nodeid, reason):
            report.outcome = "failed"
            report.longrepr = f"skipped, which tests/skips.py does not list: {reason}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport():
    """Of a test, or of a fixture that it wants."""
    return _fail_if_not_listed((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report():
    """Of a file that is skipped as a whole."""
    return _fail_if_not_listed((yield))
