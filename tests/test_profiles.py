"""Which cases Hypothesis tries: the same in the suite, others every night."""

from hypothesis import settings


def test_the_suite_tries_the_same_cases_every_time() -> None:
    suite, nightly = settings.get_profile("suite"), settings.get_profile("nightly")
    assert (suite.derandomize, suite.database) == (True, None)
    assert not nightly.derandomize
    assert nightly.database is not None
