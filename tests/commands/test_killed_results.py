"""Probes, evaluations and pages that are killed: done when all is there, and nothing is left."""

import pytest
from reproductions import NS, as_if_finished, configured

from nsmt.commands import probe as probing
from nsmt.commands import reproduce_page
from nsmt.commands import zero_shot as evaluation
from nsmt.commands.reproduce import output_folder, reproduce
from nsmt.commands.reproduce_probes import count_probed, probe_runs
from nsmt.commands.reproduce_results import gather
from nsmt.commands.reproduce_unseen import count_evaluated, evaluate_unseen

PROBE = ("probes=[family]", "progress=false")


class Killed(BaseException):
    """Nothing catches it, as nothing catches a signal that kills."""


@pytest.fixture
def killed(monkeypatch):
    """Run something that is killed where it calls a function for the first time."""

    def run(module, name, call):
        def stop(*_, **__):
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(module, name, stop)
            with pytest.raises(Killed):
                call()

    return run


@pytest.fixture
def words(tmp_path, corpora):
    place = (f"paths.runs={tmp_path}/runs", f"paths.corpora={corpora}")
    return ("scale=smoke", f"methods=[{NS}]", "callbacks.progress=false", *place)


def leftover(folder):
    """What a process leaves that is killed while it writes a file."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".main.csv.77.partial").write_text("cut")


def left(folder):
    return list(folder.rglob("*.partial"))


@pytest.mark.slow
def test_a_probe_that_was_killed_before_its_tables_is_not_done(words, finished_run, killed):
    plan = as_if_finished(("probes", *words), [1], finished_run)
    killed(probing, "_show", lambda: probe_runs(gather(plan), PROBE))
    folder = plan.folder(plan.plain, NS, 1) / "probes"
    leftover(folder / "tables")
    assert count_probed(gather(plan), PROBE) == 0
    assert probe_runs(gather(plan), PROBE) == {}
    assert count_probed(gather(plan), PROBE) == 1
    assert not left(folder)


@pytest.mark.slow
def test_an_evaluation_that_was_killed_before_its_tables_is_not_done(words, finished_run, killed):
    plan = as_if_finished(("zero_shot", *words), [1], finished_run)
    killed(evaluation, "keep_comparisons", lambda: evaluate_unseen(plan, gather(plan)))
    (folder,) = plan.folder(plan.plain, "continue_dense", 1).glob("evaluations/*")
    leftover(folder / "translations" / "de-nl")
    assert count_evaluated(plan, gather(plan)) == 0
    assert evaluate_unseen(plan, gather(plan)) == {}
    assert count_evaluated(plan, gather(plan)) == 2
    assert not left(folder)


@pytest.mark.slow
def test_the_first_page_that_was_killed_leaves_nothing_half_written(words, finished_run, killed):
    words = ("table2", *words, "seeds=[1]", "collect=true")
    as_if_finished(words[:-2], [1], finished_run)
    killed(reproduce_page, "save_figure", lambda: reproduce(configured(*words)))
    folder = output_folder(configured(*words))
    leftover(folder / "tables")
    page = reproduce(configured(*words))
    assert page == folder / "report.html"
    assert not left(folder)
