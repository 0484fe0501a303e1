"""`resume=FOLDER` where a method has trained some of its models of single directions or pairs."""

import pytest
from small_run import train_stages

from nsmt.commands.launch import prepared_corpus
from nsmt.commands.resume import take_over
from nsmt.commands.train import train
from nsmt.errors import CheckpointError
from nsmt.models.checkpoint import load_checkpoint
from nsmt.training.module import TranslationModule

SHORT = (
    "data.sentences=100",
    "data.pairs=[en-de]",
    "schedule.dense.updates=2",
    "schedule.specialise.updates=2",
    "states.every=3",
)
LASS = ("method=lass", "schedule.tuning.updates=8")
BILINGUAL = ("method=bilingual", "schedule.separate.updates=8", "method.unit=direction")


@pytest.fixture
def killed(small_config, monkeypatch):
    """The folder of a run that was killed in the model of its second direction."""
    real = TranslationModule.training_step

    def run(*words):
        config = small_config(*SHORT, *words, "name=first")
        second = config.data.parsed_directions[1]

        def step(module, batch, batch_idx):
            if module.directions == [second] and module.trainer.global_step == 5:
                raise KeyError("killed")
            return real(module, batch, batch_idx)

        with monkeypatch.context() as patch:
            patch.setattr(TranslationModule, "training_step", step)
            with pytest.raises(KeyError):
                train(config)
        return config.folder

    return run


def going_on(small_config, folder, *words):
    keys = ",".join(("name", *(word.partition("=")[0] for word in words if "=" in word)))
    how = (f"resume={folder}", f"resume_changes=[{keys}]")
    return small_config(*SHORT, *words, "name=second", *how)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "left"),
    [
        (LASS, "lass/weight_masks/{0}.safetensors lass/tuning/{1}/states"),
        (BILINGUAL, "bilingual/{0}/checkpoint bilingual/{1}/states"),
    ],
)
def test_models_of_single_directions_are_taken_over(small_config, killed, words, left):
    folder = killed(*words)
    config = going_on(small_config, folder, *words)
    take_over(config, prepared_corpus(config), {})
    for name in left.format(*config.data.parsed_directions).split():
        assert (config.folder / name).exists(), name
    train_stages(config)
    alone = small_config(*SHORT, *words, "name=alone")
    train_stages(alone)
    models = alone.folder.rglob("model.json")
    made = sorted(path.parent.relative_to(alone.folder) for path in models)
    assert len(made) == 3 + (words is BILINGUAL)
    for name in made:
        one, other = (load_checkpoint(each.folder / name) for each in (config, alone))
        assert one.fingerprint == other.fingerprint, name


@pytest.mark.parametrize(
    ("words", "changed", "told"),
    [
        (BILINGUAL, "schedule.separate.per_update=1", "per_update: None then, 1 now"),
        # Masks of other settings are not passed off as what was asked for.
        (LASS, "method.rate=0.5", "method.rate: 0.3 then, 0.5 now"),
    ],
)
def test_models_that_were_made_otherwise_are_refused_by_name(
    small_config, killed, words, changed, told
):
    config = going_on(small_config, killed(*words), *words, changed)
    take_over(config, prepared_corpus(config), {})
    with pytest.raises(CheckpointError, match=told):
        train_stages(config)
