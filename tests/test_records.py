"""What records say of the code that made them."""

from pathlib import Path

import pytest

from nsmt import records

ROOT = Path(__file__).parents[1]


@pytest.fixture
def no_checkout(tmp_path, monkeypatch):
    """The package where no checkout is."""
    monkeypatch.setattr(records.nsmt, "__file__", str(tmp_path / "nsmt" / "__init__.py"))


@pytest.mark.usefixtures("no_checkout")
def test_outside_of_a_checkout_the_commit_is_what_the_environment_says(monkeypatch):
    monkeypatch.setenv("NSMT_COMMIT", "abc")
    assert records.commit() == "abc"


@pytest.mark.usefixtures("no_checkout")
@pytest.mark.parametrize("said", [None, ""])
def test_outside_of_a_checkout_nothing_may_be_said_of_the_commit(monkeypatch, said):
    monkeypatch.delenv("NSMT_COMMIT", raising=False)
    if said is not None:
        monkeypatch.setenv("NSMT_COMMIT", said)
    assert records.commit() is None


def test_a_checkout_is_believed_before_the_environment(monkeypatch):
    monkeypatch.setenv("NSMT_COMMIT", "abc")
    if not (ROOT / ".git").exists():
        pytest.skip("the tests do not run in a checkout")
    assert records.commit() != "abc"
