"""A step on one direction: measured on a copy of the model, foretold, and undone to the bit."""

import copy

import numpy as np
import pytest
import torch
from probing_reference import slow_gradient, slow_loss

from nsmt.errors import CheckpointError, TrainingError
from nsmt.probing.gradients import gradient_products, total
from nsmt.probing.sentences import samples
from nsmt.probing.transfer import stepped, transfer


@pytest.fixture
def made(make_table, make_trained, directions):
    chosen = directions[:4]
    tables = {each: make_table(6, seed=row) for row, each in enumerate(chosen)}
    order = {each: np.arange(6.0) for each in chosen}
    return samples(tables, order, make_trained().vocabulary, tokens=25, positions=20)


def measured(trained, made, step):
    dots = total(gradient_products(trained, made, None, memory=1 << 30)).dot_TT
    return transfer(trained, made, dots, relative_step=step)


@pytest.mark.parametrize("masked", [False, True])
def test_changes_are_those_of_a_copy_that_took_the_step(make_trained, make_atlas, made, masked):
    trained = make_trained()
    trained.atlas = make_atlas(trained.model) if masked else None
    step = 1e-2
    found = measured(trained, made, step)
    length = (
        sum(float(each.detach().double().square().sum()) for each in trained.model.parameters())
        ** 0.5
    )
    for i, one in enumerate(made):
        its = slow_gradient(trained, one, made[one])
        its_length = sum(float(each.square().sum()) for each in its.values()) ** 0.5
        other_model = copy.deepcopy(trained)
        with torch.no_grad():
            for name, parameter in other_model.model.named_parameters():
                parameter -= (step * length / its_length * its[name]).float()
        for j, other in enumerate(made):
            with torch.no_grad():
                change = slow_loss(other_model, other, made[other])
                change -= slow_loss(trained, other, made[other])
            assert found.actual_TT[i, j].item() == pytest.approx(float(change), abs=2e-5)


def test_the_prediction_becomes_right_as_steps_become_small(make_trained, made):
    trained = make_trained()
    errors = []
    for step in (1e-1, 1e-2, 1e-3):
        found = measured(trained, made, step)
        size = found.predicted_TT.abs().max()
        errors.append(((found.actual_TT - found.predicted_TT).abs().max() / size).item())
    assert errors[0] > errors[1] > errors[2]
    assert errors[2] < 0.02
    assert (found.predicted_TT.diagonal() < 0).all()


def test_weights_are_put_back_to_the_bit(make_trained, made, bits):
    trained = make_trained()
    before = copy.deepcopy(bits(trained.model))
    measured(trained, made, 0.3)
    assert bits(trained.model) == before


def test_weights_are_put_back_after_an_error_too(make_trained, bits):
    model = make_trained().model
    before = copy.deepcopy(bits(model))
    ones = {name: torch.ones_like(each) for name, each in model.named_parameters()}

    def interrupted():
        with stepped(model, ones, 0.1):
            assert bits(model)[0] != before[0]
            raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"):
        interrupted()
    assert bits(model) == before


def test_a_model_that_diverged_is_refused_and_so_is_too_long_a_step(make_trained, made):
    trained = make_trained()
    with pytest.raises(TrainingError, match="after a step on fr-en"):
        measured(trained, made, 1e30)
    with torch.no_grad():
        trained.model.output.weight[3, 0] = torch.nan
    dots = torch.eye(4, dtype=torch.float64)
    with pytest.raises(CheckpointError, match="no numbers: its training diverged"):
        transfer(trained, made, dots, relative_step=0.1)


def test_a_direction_without_a_gradient_is_named(make_trained, made):
    trained = make_trained()
    with pytest.raises(TrainingError, match="fr-en has no gradient"):
        transfer(trained, made, torch.zeros(4, 4, dtype=torch.float64), relative_step=0.1)
