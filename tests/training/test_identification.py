"""What is counted on validation text, and what is refused."""

from dataclasses import replace

import pytest
import torch
from naive_transformer import naive_forward

from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.errors import AtlasError
from nsmt.models.checkpoint import load_checkpoint
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.selection import SelectionSettings, select
from nsmt.neurons.statistics import CountRule
from nsmt.training.identification import gather_statistics
from nsmt.training.settings import TrainerSettings


@pytest.fixture
def trained(finished_run):
    return load_checkpoint(finished_run / "dense" / "checkpoint")


@pytest.fixture
def data(run_corpus):
    batch = BatchSettings(tokens=256, layout="packed")
    return TranslationData(Corpus.open(run_corpus), batch=batch, temperature=1.0, seed=0)


def gathered(trained, data, folder, rule):
    trainer = TrainerSettings(threads=1)
    return gather_statistics(
        trained, data, rule=rule, trainer=trainer, folder=folder, progress=False
    )


def layers_of(model):
    """The feed-forward layers, in the order of the model's sites."""
    layers = (*model.encoder, *model.decoder)
    return [layer.feed_forward for layer in layers]


def masked(trained):
    """Of 16 neurons a direction may use 4, and every bias is 0.1."""
    shape = trained.model.settings.model_copy(update={"d_ff": 16})
    vocabulary = trained.vocabulary
    torch.manual_seed(0)
    model = Transformer(shape, vocabulary_size=vocabulary.size, pad=vocabulary.pad).eval()
    for layer in layers_of(model):
        torch.nn.init.constant_(layer.fc1.bias, 0.1)
    tasks = [str(direction) for direction in trained.directions]
    allowed = {
        site.name: torch.rand(len(tasks), 16).argsort(-1).argsort(-1) < 4 for site in model.sites
    }
    atlas = NeuronAtlas.from_masks(tasks, model.sites, allowed)
    return replace(trained, model=model, atlas=atlas)


@torch.no_grad()
def counted_by_hand(trained, data):
    """Each sentence by itself, behind it zeros as many as its batch pads it with.

    Of a model with masks, what a direction may not use puts out relu(b1) and is not counted.
    """
    model, sites = trained.model, trained.model.sites
    rows = {str(direction): row for row, direction in enumerate(trained.directions)}
    counts = {site.name: torch.zeros(len(rows), site.width, dtype=torch.int64) for site in sites}
    units = {site.name: torch.zeros(len(rows), dtype=torch.int64) for site in sites}
    bias = {site.name: layer.fc1.bias for site, layer in zip(sites, layers_of(model), strict=True)}
    own = {site.name: torch.ones(len(rows), site.width, dtype=torch.bool) for site in sites}
    if trained.atlas is not None:
        own = {site.name: trained.atlas.masks(site) for site in sites}
    for batch in data.padded().val_dataloader():
        for sentence, row in enumerate(batch.direction_C.tolist()):

            def look(site, activation, row=row):
                mask = own[site][row]
                counts[site][row] += ((activation > 0) & mask).sum(0)
                units[site][row] += len(activation)
                return torch.where(mask, activation, bias[site].relu())

            source, target = batch.source_BS[sentence], batch.target_in_BT[sentence]
            real = [each[each != model.pad] for each in (source, target)]
            padding = tuple(len(a) - len(b) for a, b in zip((source, target), real, strict=True))
            naive_forward(model, *real, change=look, padding=padding)
    return counts, units


def test_padding_is_counted_by_what_it_computes_in_the_released_code(trained, data, tmp_path):
    """Zeros behind each sentence, as many as the batch has: fairseq's padding."""
    found = gathered(trained, data, tmp_path, CountRule(count_padding=True))
    counts, units = counted_by_hand(trained, data)
    for site in trained.model.sites:
        assert torch.equal(found.units[site.name], units[site.name])
        assert torch.equal(found.active[site.name], counts[site.name])
    plain = gathered(trained, data, tmp_path, CountRule())
    assert all((plain.units[name] < units[name]).all() for name in units)


@torch.no_grad()
def test_real_positions_compute_the_same_whatever_padding_does(trained, data):
    model = trained.model
    for batch in data.padded().val_dataloader():
        outputs = []
        for silent in (False, True):
            model.silent_padding = silent
            outputs.append(model(batch)[batch.target_real_BT])
        torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)


def test_a_direction_without_validation_text_is_named(trained, data, tmp_path):
    first, *others = trained.directions
    alone = TranslationData(
        data.corpus, batch=data.batch, temperature=1.0, seed=0, directions=[first]
    )
    with pytest.raises(AtlasError, match=f"nothing was counted of {others[0]}, "):
        gathered(trained, alone, tmp_path, CountRule())


@pytest.mark.parametrize("unit", ["token", "sentence_union"])
def test_neurons_that_a_direction_may_not_use_are_never_selected(trained, data, tmp_path, unit):
    """They put out relu(0.1) at every position, which is more often than any other fires."""
    specialised = masked(trained)
    found = gathered(specialised, data, tmp_path, CountRule(unit))
    for k in (50.0, 100.0):
        chosen = select(found, SelectionSettings(k=k, count_unit=unit), pivot=data.corpus.pivot)
        for site in chosen.sites:
            assert chosen.masks(site).any(-1).all()
            assert not (chosen.masks(site) & ~specialised.atlas.masks(site)).any()


def test_a_model_with_masks_is_measured_as_it_is_used(trained, data, tmp_path):
    specialised = masked(trained)
    rule = CountRule(count_padding=True)
    found = gathered(specialised, data, tmp_path, rule)
    counts, units = counted_by_hand(specialised, data)
    for site in specialised.model.sites:
        assert torch.equal(found.units[site.name], units[site.name])
        assert torch.equal(found.active[site.name], counts[site.name])
    assert found.provenance["masks"] == specialised.atlas.fingerprint
    assert "masks" not in gathered(trained, data, tmp_path, rule).provenance
