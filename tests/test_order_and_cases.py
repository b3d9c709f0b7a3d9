"""Which cases Hypothesis tries, the same in the suite, others every night; in which order."""

from pathlib import Path

import pytest
from hypothesis import settings

from tests.support.order import LONGEST, place


def test_the_suite_tries_the_same_cases_every_time() -> None:
    suite, nightly = settings.get_profile("suite"), settings.get_profile("nightly")
    assert (suite.derandomize, suite.database) == (True, None)
    assert not nightly.derandomize
    assert nightly.database is not None


def test_the_longest_files_of_tests_go_first(request: pytest.FixtureRequest) -> None:
    tests = Path(__file__).parent
    assert [name for name in LONGEST if not (tests / name).is_file()] == []
    places = [place(i.path.relative_to(tests).as_posix()) for i in request.session.items]
    assert places == sorted(places)
