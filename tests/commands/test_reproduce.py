"""`nsmt reproduce`: what it runs, what it collects, and that nothing finished is run again."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from reproductions import NS, configured, planned

from nsmt.cli import main
from nsmt.commands.compose import composed
from nsmt.commands.processes import descendants
from nsmt.commands.reproduce import output_folder, reproduce_words
from nsmt.commands.reproduce_results import gather
from nsmt.errors import ConfigurationError
from nsmt.methods import CONTROL, DENSE

ROOT = Path(__file__).parents[2]


def test_words_are_parted_into_the_commands_own_and_those_of_every_run():
    words = [
        "table2",
        "scale=smoke",
        "seeds=[1]",
        "paths.runs=x",
        "model.d_ff=64",
        "launcher=local",
    ]
    own, handed_on = reproduce_words([*words, "--check", "+hydra.launcher.n_jobs=3"])
    assert own == ["table=table2", "scale=smoke", "seeds=[1]", "paths.runs=x", "--check"]
    assert handed_on == (
        *("paths.runs=x", "model.d_ff=64", "launcher=local", "+hydra.launcher.n_jobs=3"),
    )


def test_a_table_is_base_runs_and_then_seeds_by_methods():
    plan = planned("table2", "scale=smoke", f"methods=[random,{NS}]", "model.d_ff=64")
    assert list(plan.sweeps()) == [
        ["experiment=smoke/base", "model.d_ff=64", "method=continue_dense", "seed=1,2"],
        ["experiment=smoke/base", "model.d_ff=64", "seed=1,2", f"method=random,{NS}"],
    ]


def test_rows_keep_the_order_of_the_table_and_unknown_methods_are_left_to_be_reported(monkeypatch):
    monkeypatch.setattr(
        "nsmt.commands.reproduce_plan._known_methods", lambda: [CONTROL, "random", NS]
    )
    plan = planned("table2", "scale=smoke")
    assert plan.plain.rows == (
        *("adapter_family", "adapter_pair", "lass", "random"),
        *("neuron_specialization_encoder", "neuron_specialization_decoder", NS),
    )
    assert plan.plain.methods == ("random", NS)
    absent = gather(plan).results[""].missing()
    assert "missing: LaSS, seed 1, 2: this version of nsmt has no such method" in absent


def test_conditions_train_their_own_base_unless_they_leave_it_as_it_is(tmp_path):
    plan = planned("study", "scale=smoke", f"methods=[{NS}]")
    study = list(plan.sweeps())
    assert len(study) == 2 * 3 + len(plan.seeds)
    # Masks alone are another thing under this condition.
    for words, seed in zip(study[2:4], plan.seeds, strict=True):
        assert f"resume='{plan.base(seed)}'" in words
        assert "selection.into_pivot.decoder=100" in words
    assert study[4][0] == "experiment=[smoke/base,study/narrow_24]"
    plan = planned("k", "scale=smoke", f"paths.runs={tmp_path}", "seeds=[7]")
    base, *others = plan.sweeps()
    assert base[-2:] == [f"method={CONTROL}", "seed=7"]
    assert len(others) == 6
    for words in others:
        assert f"resume='{plan.base(7)}'" in words
        assert "resume_changes=[method,selection.k]" in words
    # The condition's own words come last: they are what it is about.
    assert (
        planned("k", "scale=smoke", "selection.k=10").config(plan.conditions[1], NS, 1).selection.k
        == 50
    )


def test_single_conditions_are_trained_with_the_base_runs_that_they_need(tmp_path):
    narrow, shares = "narrow-24", "masks out of the pivot alone"
    alone = planned("study", "scale=smoke", f"conditions=[{narrow}]")
    assert [words[0] for words in alone.sweeps()] == ["experiment=[smoke/base,study/narrow_24]"] * 2
    words = (f"conditions=[{narrow},{shares}]", f"methods=[{NS}]", f"paths.runs={tmp_path}")
    plan = planned("study", "scale=smoke", *words)
    base, *taken_over, own_base, own = plan.sweeps()
    assert base == ["experiment=smoke/base", words[-1], f"method={CONTROL}", "seed=1,2"]
    assert [words[-2:] for words in taken_over] == [[f"seed={s}", f"method={NS}"] for s in (1, 2)]
    assert own_base[-2:] == [f"method={CONTROL}", "seed=1,2"]
    assert own[-2:] == ["seed=1,2", f"method={NS}"]
    found = gather(plan)
    assert [len(result.absent) for result in found.results.values()] == [2, 2, 4]
    as_it_is = list(planned("study", "scale=smoke", "conditions=[as it is]").sweeps())
    assert as_it_is == list(planned("study", "scale=smoke").sweeps())[:2]


def test_all_of_the_paper_has_the_one_ablation_of_k():
    paper, alone = (configured(name, "scale=smoke").table for name in ("paper", "k"))
    assert list(paper.conditions) == [f"k-{k}" for k in (50, 70, 80, 90, 95, 98)]
    parts = ("conditions", "condition_methods", "number")
    assert [getattr(paper, part) for part in parts] == [getattr(alone, part) for part in parts]
    assert paper.title != alone.title
    assert {"table2", "k"} < set(paper.tables)


def test_every_condition_of_the_study_has_random_masks_beside_the_method():
    plan = planned("study", "scale=smoke")
    assert [condition.methods for condition in plan.conditions[1:]] == [("random", NS)] * 3
    assert {"random", NS} < set(plan.plain.methods)


def test_all_seeds_of_a_row_have_folders_of_their_own_which_runs_would_use(tmp_path):
    plan = planned("table2", "scale=smoke", f"paths.runs={tmp_path}")
    folders = {plan.folder(plan.plain, NS, seed) for seed in (1, 2)}
    alone = composed(
        "train",
        ["experiment=smoke/base", f"method={NS}", "seed=2", f"paths.runs={tmp_path}"],
        type(plan.config(plan.plain, NS, 2)),
    )
    assert len(folders) == 2
    assert alone.folder in folders


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["conditions=[as it]"], "smoke: as it\n  fix: did you mean 'as it is'"),
        (["conditions=[]"], "at least 1 item"),
        (["seed=3"], "choose by seeds="),
        (["method=random"], "choose by methods="),
        (["selection.k=1,2"], "is a sweep of its own"),
        (["resume=never"], "the same command"),
        (["methods=[randm]"], "did you mean 'random'"),
        (["data.tempratur=1"], "did you mean 'data.temperature'"),
    ],
)
def test_what_cannot_be_given_to_every_run_is_refused_by_name(words, said):
    with pytest.raises(ConfigurationError, match=said):
        planned("table2", "scale=smoke", *words)


def test_conditions_without_a_row_are_refused_before_anything_is_trained():
    words = ("k", "scale=smoke", "methods=[lass]")
    assert not planned(*words).conditions[1].methods
    with pytest.raises(ConfigurationError, match=r"no row of 'k-80' .*\n.* are neuron_special"):
        planned(*words, "conditions=[k-80]")


def test_misspelt_tables_and_missing_scales_are_told(capsys):
    for words, said in ((["tabel2", "scale=smoke"], "did you mean 'table2'"), (["k"], "scale")):
        with pytest.raises(SystemExit) as end:
            main(["reproduce", *words])
        assert end.value.code == 2
        assert said in capsys.readouterr().err


def test_the_output_is_named_by_what_changes_the_results(tmp_path):
    common = ("table2", "scale=smoke", f"paths.runs={tmp_path}")
    plain = output_folder(configured(*common))
    assert plain == tmp_path / "reproductions" / "table2-smoke"
    same = ("launcher=local", "callbacks.progress=false", "paths.corpora=x", "collect=true")
    for word in (*same, "seeds=[1,2]", "conditions=[as it is]"):
        assert output_folder(configured(*common, word)) == plain
    others = ("callbacks=early_stopping", "model.d_ff=64", "seeds=[1]", f"methods=[{NS}]")
    changed = {output_folder(configured(*common, word)) for word in (*others, "table.title=X")}
    assert len(changed - {plain}) == len(others) + 1
    some = {
        output_folder(configured("k", *common[1:], f"conditions=[{names}]"))
        for names in ("k-80,k-98", "k-98,k-80,k-80", "k-80")
    }
    assert len(some) == 2
    paper = configured("paper", "scale=smoke", f"paths.runs={tmp_path}")
    assert output_folder(paper).name == "paper-smoke"


def test_check_tells_what_would_be_run_and_runs_nothing(tmp_path, capsys):
    main(["reproduce", "table2", "scale=smoke", f"paths.runs={tmp_path}", "--check"])
    out = capsys.readouterr().out
    assert "0 of" in out
    assert "was not begun" in out
    assert not list(tmp_path.iterdir())


def test_check_ends_with_what_train_says_of_the_inputs_where_no_run_is_finished(tmp_path, capsys):
    roots = [f"data.{key}=/nowhere" for key in ("root", "valid_set.root", "test_set.root")]
    said = []
    for words in (
        ["reproduce", "table2", "scale=ec30", f"paths.runs={tmp_path}", "--check"],
        ["train", "experiment=ec30/mt_big", "--check"],
    ):
        with pytest.raises(SystemExit) as end:
            main([*words, *roots])
        assert end.value.code == 2
        shown = capsys.readouterr()
        assert "runs are finished" not in shown.out
        said.append([line for line in shown.err.splitlines() if line.startswith("error: ")])
    assert said[0] == said[1] != []


def start(words):
    return subprocess.Popen(
        [sys.executable, "-c", "from nsmt.cli import main; main()", *words],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def made(runs):
    """When each finished stage, result and certificate was written."""
    kept = [*runs.glob("*/*/checkpoint/model.safetensors"), *runs.glob("*/identification/*")]
    kept += [
        path
        for path in runs.glob("*/record.json")
        if "finished" in json.loads(path.read_text(encoding="utf-8"))
    ]
    return {path: path.stat().st_mtime_ns for path in kept}


# What is there as soon as a stage is reached, in their order; a signal; the status it ends with.
MOMENTS = (
    ("*/dense/checkpoint", signal.SIGTERM, 75),
    ("*/translations/*/hyp.dense.txt", signal.SIGKILL, -9),
    # In the middle of a row: the first of the second sweep trains its method.
    ("*/random/metrics.csv", signal.SIGKILL, -9),
    # All rows are there, and figures and page are not.
    ("reproductions/*/tables/table2.csv", signal.SIGTERM, 75),
)


def at_work(process):
    """Whether there is such a process; of one that has ended the words are gone."""
    try:
        return bool(Path(f"/proc/{process}/cmdline").read_bytes())
    except OSError:
        return False


def killed(words, runs, *, at, by):
    """The status of a reproduction that got a signal as soon as a file was there."""
    process = start(words)
    deadline = time.monotonic() + 600
    while not any(runs.glob(at)) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    workers = descendants(process.pid)
    process.send_signal(by)
    process.communicate()
    # Its job ends with it.
    while any(map(at_work, workers)):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process.returncode


def stages_done(runs):
    """The stages that were trained to their end, as often as logs tell of it."""
    return [
        (path.parent.name, stage)
        for path in runs.glob("*/log.txt")
        for stage in re.findall(r"(\w+): \d+ updates done", path.read_text(encoding="utf-8"))
    ]


@pytest.mark.slow
def test_killed_at_any_stage_and_run_again_a_reproduction_computes_nothing_twice(tmp_path, corpora):
    runs = tmp_path / "runs"
    words = ["reproduce", "table2", "scale=smoke", f"methods=[random,{NS}]", "seeds=[1,2]"]
    words += [f"paths.runs={runs}", f"paths.corpora={corpora}", "callbacks.progress=false"]
    before = {}
    for at, by, status in MOMENTS:
        assert killed(words, runs, at=at, by=by) == status, at
        after = made(runs)
        assert {path: after[path] for path in before} == before, at
        before = after
    assert len(list(runs.glob("smoke-*"))) == 6
    folder = output_folder(configured(*words[1:]))
    assert not (folder / "report.html").exists()

    last = start(words)
    shown, errors = last.communicate(timeout=600)
    assert last.returncode == 0, errors
    assert shown.count("is finished already") == 6
    assert made(runs) == before
    assert len(stages_done(runs)) == len(set(stages_done(runs))) == 2 * (2 + 2)
    table = (folder / "tables" / "table2.csv").read_text().splitlines()
    assert [line.split(",")[:3:2] for line in table[1:]] == [
        [label, "2"]
        for label in ("dense", "continue-dense", "random neurons", "neuron specialisation")
    ]
    assert "missing" not in (folder / "tables" / "table2.md").read_text()
    assert (folder / "report.html").is_file()


@pytest.mark.slow
def test_a_row_that_fails_is_named_and_the_others_are_run(tmp_path, corpora):
    runs = tmp_path / "runs"
    words = ["reproduce", "table2", "scale=smoke", f"methods=[bernoulli,{NS}]", "seeds=[1]"]
    words += [f"paths.runs={runs}", f"paths.corpora={corpora}", "callbacks.progress=false"]
    plan = planned(*words[1:])
    damaged = plan.folder(plan.plain, "bernoulli", 1)
    damaged.mkdir(parents=True)
    (damaged / "record.json").write_text("{ cut")
    process = start(words)
    shown, errors = process.communicate(timeout=600)
    assert process.returncode == 2, errors
    assert "missing: random neurons, Bernoulli, seed 1: " in " ".join(shown.split())
    table = (output_folder(configured(*words[1:])) / "tables" / "table2.md").read_text()
    assert "| neuron specialisation | 0 % | 1 |" in table
    assert "missing: random neurons, Bernoulli, seed 1: " in table
    assert "record.json is damaged" in " ".join(shown.split())
    assert DENSE in table
