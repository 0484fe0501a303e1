"""Claims about runs of one seed that differ in their method alone: they share what they can."""

import json
import shutil

import pytest

from nsmt.commands import score as score_module
from nsmt.commands.train import train
from nsmt.training import stages as stages_module

SHORT = ("schedule.dense.updates=4", "schedule.specialise.updates=2", "decoding.max_length_extra=2")


@pytest.fixture
def made(monkeypatch):
    """What is trained, and translated, from now on."""
    seen = []
    fit, score = stages_module._fit, score_module.score_model

    def training(context, stage, *rest, **more):
        seen.append(f"train {stage.name}")
        return fit(context, stage, *rest, **more)

    def translating(*rest, label, **more):
        seen.append(f"translate {label}")
        return score(*rest, label=label, **more)

    monkeypatch.setattr(stages_module, "_fit", training)
    monkeypatch.setattr(score_module, "score_model", translating)
    return seen


def results(folder):
    return json.loads((folder / "results" / "against-continue_dense.json").read_text())


def test_a_method_takes_the_dense_model_and_the_control_from_the_controls_run(small_config, made):
    control = small_config(*SHORT, "method=continue_dense")
    train(control)
    made.clear()
    config = small_config(*SHORT, "method=random")
    train(config)
    assert made == ["train random", "translate random neurons"]
    for stage in ("dense", "continue_dense"):
        own, other = (each.folder / stage / "checkpoint" for each in (config, control))
        assert {path.name for path in own.iterdir()} == {path.name for path in other.iterdir()}
    # As if it had been trained alone.
    found = results(config.folder)
    shutil.rmtree(control.folder)
    shutil.rmtree(config.folder)
    train(config)
    assert results(config.folder) == found


def test_nothing_is_shared_with_a_run_of_another_seed(small_config, made):
    train(small_config(*SHORT, "method=continue_dense", "seed=2"))
    made.clear()
    train(small_config(*SHORT, "method=random"))
    assert made[:3] == ["train dense", "train continue_dense", "train random"]


def test_a_run_that_was_stopped_after_translating_does_not_translate_again(
    small_config, made, monkeypatch
):
    config = small_config(*SHORT)
    real = score_module.compare_outputs

    def stop(*_, **__):
        monkeypatch.setattr(score_module, "compare_outputs", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(score_module, "compare_outputs", stop)
    with pytest.raises(KeyboardInterrupt):
        train(config)
    assert len(made) == 6
    made.clear()
    train(config)
    assert made == []


def test_translations_that_were_changed_are_made_again(small_config, made):
    config = small_config(*SHORT, "method=continue_dense")
    train(config)
    found = results(config.folder)
    (config.folder / "report" / "report.html").unlink()
    place = config.folder / "translations" / str(config.data.parsed_directions[0])
    (place / "hyp.dense.txt").write_text("changed\n")
    made.clear()
    train(config)
    assert made == ["translate dense"]
    assert results(config.folder) == found
