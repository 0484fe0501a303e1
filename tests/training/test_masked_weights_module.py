"""Training with weight masks through Lightning: the same step, each direction's own weights."""

import copy

import pytest
import torch
from weight_masks_read import mask_of

from nsmt.commands.launch import prepared_corpus
from nsmt.data.datamodule import TranslationData
from nsmt.errors import CheckpointError, ConfigurationError
from nsmt.evaluation.translation import likelihoods
from nsmt.models.checkpoint import TrainedModel
from nsmt.models.systems import materialised
from nsmt.models.transformer import Transformer
from nsmt.models.weight_masks import WeightMasks, magnitude_masks, maskable_weights
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.training.masked_weights_module import MaskedWeightsModule, make_module
from nsmt.training.module import TranslationModule
from nsmt.training.trainer import make_trainer


@pytest.fixture
def config(small_config):
    return small_config("model.dropout=0.0", "optimizer.warmup_updates=0")


@pytest.fixture
def corpus(config):
    return prepared_corpus(config)


@pytest.fixture
def start(config, corpus):
    """A new model without masks."""
    torch.manual_seed(0)
    vocabulary = corpus.vocabulary
    model = Transformer(config.model, vocabulary_size=vocabulary.size, pad=vocabulary.pad)
    return TrainedModel(model, vocabulary, list(corpus.directions))


def with_masks(start, rate, *, output_projection=False, noise=1.0):
    """A copy with masks of the largest weights of models a step away from it."""
    generator = torch.Generator().manual_seed(1)
    found = copy.deepcopy(start)
    weights = maskable_weights(found.model, output_projection=output_projection)
    found.weight_masks = WeightMasks.from_masks(
        (
            str(direction),
            magnitude_masks(
                {
                    name: each + noise * each.std() * torch.randn(each.shape, generator=generator)
                    for name, each in weights.items()
                },
                rate,
            ),
        )
        for direction in found.directions
    )
    return found


def fitted(trained, config, corpus, folder, *, updates=3, batch=None, directions=None):
    """Train in place; what Lightning logged."""
    data = TranslationData(
        corpus,
        batch=config.batch.model_copy(update=batch or {}),
        temperature=1.0,
        seed=1,
        directions=directions,
        among=trained.directions,
    )
    module = make_module(trained, optimizer=config.optimizer, updates=updates)
    trainer = make_trainer(
        config.trainer,
        folder=folder,
        updates=updates,
        accumulation=data.accumulation(1),
        optimizer=config.optimizer,
    )
    trained.model.train()
    trainer.fit(module, datamodule=data)
    return trainer.callback_metrics


def test_masks_that_keep_all_train_as_the_dense_model(config, corpus, start, tmp_path):
    dense, masked = copy.deepcopy(start), with_masks(start, 0)
    expected = fitted(dense, config, corpus, tmp_path)
    found = fitted(masked, config, corpus, tmp_path)
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].item() == pytest.approx(value.item(), rel=1e-3), name


def random_atlas(trained):
    sites, tasks = trained.model.sites, [str(direction) for direction in trained.directions]
    masks = {site.name: torch.rand(len(tasks), site.width) < 0.5 for site in sites}
    return NeuronAtlas.from_masks(tasks, sites, masks)


def test_masks_of_neurons_besides_are_refused(start):
    trained = with_masks(start, 0.5)
    trained.atlas = random_atlas(trained)
    with pytest.raises(CheckpointError, match="masks of neurons and masks of weights at once"):
        make_module(trained, updates=1)


@pytest.mark.parametrize("homogeneous", [False, True])
@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_validation_reads_each_direction_with_the_weights_that_translate_it(
    config, corpus, start, tmp_path, homogeneous, layout
):
    trained = with_masks(start, 0.5, output_projection=True)
    batch = {"homogeneous": homogeneous, "layout": layout}
    logged = fitted(trained, config, corpus, tmp_path, batch=batch)
    for direction in trained.directions:
        own = materialised(trained, trained.weight_masks, direction)
        tables = {direction: corpus.table(direction, "valid")}
        nll, tokens = likelihoods(own, tables, tokens=512)[direction]
        expected = nll.sum() / tokens.sum()
        assert logged[f"valid/nll/{direction}"].item() == pytest.approx(expected, rel=1e-4)


def test_weights_that_no_direction_keeps_stay_as_they_were(config, corpus, start, tmp_path):
    trained = with_masks(start, 0.8, noise=0.1)
    before = {name: each.detach().clone() for name, each in maskable_weights(trained.model).items()}
    fitted(trained, config, corpus, tmp_path)
    for name, weight in maskable_weights(trained.model).items():
        tasks = trained.weight_masks.tasks
        kept = torch.stack([mask_of(trained.weight_masks, task, name) for task in tasks]).any(0)
        assert (~kept).any()
        assert torch.equal(weight[~kept], before[name][~kept])
        assert not torch.equal(weight[kept], before[name][kept])


def test_a_direction_is_fine_tuned_and_validated_alone(config, corpus, start, tmp_path):
    alone = corpus.directions[1]
    before = copy.deepcopy(start.model.state_dict())
    logged = fitted(start, config, corpus, tmp_path, directions=[alone], batch={"per_update": 1})
    assert set(logged) == {"valid/nll", f"valid/nll/{alone}"}
    assert logged["valid/nll"] == logged[f"valid/nll/{alone}"]
    assert any(not torch.equal(v, before[n]) for n, v in start.model.state_dict().items())


def test_what_would_compute_with_other_weights_is_refused(config, corpus, start, tmp_path):
    trained = with_masks(start, 0.5)
    trained.model.recompute = True
    with pytest.raises(ConfigurationError, match="recompute=false"):
        fitted(trained, config, corpus, tmp_path)


def test_the_module_is_the_one_that_the_models_masks_need(config, start):
    options = {"optimizer": config.optimizer, "updates": 1}
    assert type(make_module(start, **options)) is TranslationModule
    masked = make_module(with_masks(start, 0.5), **options)
    assert type(masked) is MaskedWeightsModule
    # Masks are neither trained nor kept in a state.
    assert masked.state_dict().keys() == make_module(start, **options).state_dict().keys()
    assert len(list(masked.parameters())) == len(list(start.model.parameters()))
    with pytest.raises(CheckpointError, match="no weight masks"):
        MaskedWeightsModule(start, **options)
