"""The certificate of a reproduction says of every run what its own certificate says beyond it."""

import json

import pytest
from reproductions import NS, as_if_finished, configured

from nsmt.commands.reproduce_record import reproduction_record, run_entry, shown_runs
from nsmt.commands.reproduce_results import gather
from nsmt.methods import CONTROL

HERE = {"processor": "an old one", "threads": 1, "gpu": None}
RUN = {
    "command": "nsmt train experiment=a paths.runs=/of/mine +paths.corpora=x seed=2 method=lass",
    "commit": "c0ffee",
    "nsmt": "0.1.0",
    "data_fingerprint": "text",
    "packages": {"torch": "2.0"},
    "environment": HERE,
    "started": "at noon",
    "finished": "at one",
}
MADE = {**RUN, "command": "nsmt reproduce", "commit": "beef", "environment": {}, "started": "later"}


def test_an_entry_has_commit_command_times_and_hardware_but_not_where_it_was_kept():
    assert run_entry(RUN, MADE) == {
        "commit": "c0ffee",
        "command": "nsmt train experiment=a seed=2 method=lass",
        "started": "at noon",
        "finished": "at one",
        "environment": HERE,
    }


@pytest.mark.parametrize(
    ("key", "other"),
    [("packages", {"torch": "2.1"}), ("nsmt", "0.2.0"), ("data_fingerprint", "other text")],
)
def test_what_a_run_shares_with_the_reproduction_is_said_where_it_differs(key, other):
    entry = run_entry({**RUN, key: other}, MADE)
    assert entry.keys() - run_entry(RUN, MADE).keys() == {key}
    assert entry[key] == other


def test_a_run_that_was_stopped_has_the_first_commit_and_when_it_went_on():
    began = {"command": "nsmt train", "commit": "f1857", "started": "at dawn"}
    entry = run_entry({**RUN, "resumed": [began]}, MADE)
    assert (entry["commit"], entry["started"]) == ("f1857", "at dawn")
    assert entry["went_on"] == [{"commit": "c0ffee", "started": "at noon"}]


def test_every_run_is_in_the_record_and_on_the_page_in_a_line(tmp_path, finished_run):
    words = ("table2", "scale=smoke", f"methods=[{NS},random]", f"paths.runs={tmp_path}/runs")
    plan = as_if_finished(words, (1,), finished_run)
    record = reproduction_record(configured(*words), plan, gather(plan))
    own = json.loads((plan.folder(plan.plain, NS, 1) / "record.json").read_text())
    assert list(record["runs"]) == [
        f"as it is, {method}, seed 1" for method in (CONTROL, NS, "random")
    ]
    entry = record["runs"][f"as it is, {NS}, seed 1"]
    assert {key: entry[key] for key in ("commit", "started", "finished", "environment")} == {
        key: own[key] for key in ("commit", "started", "finished", "environment")
    }
    assert "packages" not in entry
    assert json.loads(json.dumps(record)) == record
    shown = shown_runs(record)
    name = plan.folder(plan.plain, NS, 1).name
    assert shown[f"as it is, {NS}, seed 1"] == f"{name}, commit {own['commit']}"
    assert shown["as it is, random, seed 1"].startswith("missing: was not begun")
