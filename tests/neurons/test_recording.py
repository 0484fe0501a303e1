import pytest
import torch
from torch import nn
from torch.nn import functional as F

from nsmt.data.batch import SequenceFormat
from nsmt.languages import Direction
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.recording import ActivationRecorder, Positions
from nsmt.neurons.sites import Site
from nsmt.neurons.statistics import ActivationStatistics, CountRule

TASKS = ("en-de", "de-en")
SEQUENCES = SequenceFormat(pad=0, eos=2, tags={"en": 4, "de": 5})


@pytest.fixture
def model():
    torch.manual_seed(0)
    settings = ModelSettings(encoder_layers=2, decoder_layers=1, d_model=8, d_ff=10, heads=2)
    built = Transformer(settings, vocabulary_size=12, pad=0).eval()
    with torch.no_grad():
        for layer in (*built.encoder_stack, *built.decoder_stack):
            layer.feed_forward.fc1.bias.uniform_(-1, 1)
    return built


@pytest.fixture
def batch():
    pieces = [[6, 7, 8], [9], [10, 11, 6, 7], []]
    rows = [0, 1, 0, 1]
    return SEQUENCES.collate(
        [torch.tensor(each, dtype=torch.int64).numpy() for each in pieces],
        [torch.tensor(each, dtype=torch.int64).numpy() for each in pieces[::-1]],
        [Direction.parse(TASKS[row]) for row in rows],
        rows=rows,
    )


def real_of(batch):
    return {
        "encoder": Positions(batch.source_real_BS),
        "decoder": Positions(batch.target_real_BT),
    }


def hooks_of(model):
    return sum(len(module._forward_pre_hooks) for module in model.modules())


@pytest.mark.parametrize("unit", ["token", "sentence_union"])
@pytest.mark.parametrize("padding", [False, True])
@torch.no_grad()
def test_counts_through_a_transformer_equal_those_of_activations_computed_by_hand(
    model, batch, unit, padding
):
    statistics = ActivationStatistics(TASKS, model.sites, rule=CountRule(unit, padding))
    recorder = ActivationRecorder(statistics)
    inputs = {}
    # The inputs of the first projections, so that what lies between is computed here.
    for site in model.sites:
        layers = model.encoder_stack if site.stack == "encoder" else model.decoder_stack
        layers[site.layer].feed_forward.fc1.register_forward_pre_hook(
            lambda _, given, name=site.name: inputs.update({name: given[0]})
        )
    with recorder.attached(model.projections):
        recorder.observe(batch.direction_C, real_of(batch))
        model(batch)
    for site in model.sites:
        layers = model.encoder_stack if site.stack == "encoder" else model.decoder_stack
        first = layers[site.layer].feed_forward.fc1
        fired = F.linear(inputs[site.name], first.weight, first.bias) > 0
        if not padding:
            fired &= real_of(batch)[site.stack].real_BS[..., None]
        by_sentence = fired.sum(1) if unit == "token" else fired.any(1).long()
        for row in range(len(TASKS)):
            expected = by_sentence[batch.direction_C == row].sum(0)
            assert expected.any()
            assert torch.equal(statistics.active[site.name][row], expected)


def test_hooks_are_gone_after_the_block(model, batch):
    recorder = ActivationRecorder(ActivationStatistics(TASKS, model.sites))
    with recorder.attached(model.projections):
        assert hooks_of(model) == 3
        recorder.observe(batch.direction_C, real_of(batch))
        model(batch)
    assert hooks_of(model) == 0
    before = recorder.statistics.active["encoder.0"].clone()
    model(batch)
    assert torch.equal(recorder.statistics.active["encoder.0"], before)


def test_hooks_are_gone_after_an_exception(model):
    recorder = ActivationRecorder(ActivationStatistics(TASKS, model.sites))
    with pytest.raises(KeyError, match="interrupted"), recorder.attached(model.projections):
        raise KeyError("interrupted")
    assert hooks_of(model) == 0


def test_hooks_are_gone_when_attaching_fails_half_way(model):
    recorder = ActivationRecorder(ActivationStatistics(TASKS, model.sites))
    projections = {**model.projections, Site("decoder", 9, 10): None}
    with pytest.raises(AttributeError), recorder.attached(projections):
        pass
    assert hooks_of(model) == 0


def test_a_forward_pass_of_unnamed_sentences_is_refused(model, batch):
    recorder = ActivationRecorder(ActivationStatistics(TASKS, model.sites))
    with pytest.raises(RuntimeError, match="observe"), recorder.attached(model.projections):
        model(batch)
    assert hooks_of(model) == 0


def test_other_hooks_and_the_output_are_left_alone(model, batch):
    expected = model(batch)
    other = model.projections[model.sites[0]].register_forward_pre_hook(lambda *_: None)
    recorder = ActivationRecorder(ActivationStatistics(TASKS, model.sites))
    with recorder.attached(model.projections):
        recorder.observe(batch.direction_C, real_of(batch))
        assert torch.equal(model(batch), expected)
    assert hooks_of(model) == 1
    other.remove()


def test_any_model_with_a_second_projection_can_be_recorded():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    site = Site("layers", 0, 6)
    recorder = ActivationRecorder(ActivationStatistics(["any"], [site]))
    x = torch.randn(2, 3, 4)
    with recorder.attached({site: model[2]}):
        real = torch.ones(2, 3, dtype=torch.bool)
        recorder.observe(torch.zeros(2, dtype=torch.int64), {"layers": Positions(real)})
        model(x)
    expected = (model[0](x) > 0).sum((0, 1))
    assert torch.equal(recorder.statistics.active[site.name][0], expected)


@torch.no_grad()
def test_what_neurons_write_is_summed_in_a_translation_model_too(model, batch):
    statistics = ActivationStatistics(TASKS, model.sites, moments=["written"])
    recorder, read = ActivationRecorder(statistics), {}
    for site, second in model.projections.items():
        second.register_forward_pre_hook(
            lambda _, given, name=site.name: read.update({name: given[0]})
        )
    with recorder.attached(model.projections):
        recorder.observe(batch.direction_C, real_of(batch))
        model(batch)
    assert hooks_of(model) == 3
    for site, second in model.projections.items():
        real_BS = real_of(batch)[site.stack].real_BS
        for row in range(len(TASKS)):
            own_NF = read[site.name][(batch.direction_C == row)[:, None] & real_BS]
            expected_F = sum(h_F.abs() * second.weight.norm(dim=0) for h_F in own_NF)
            found_F = statistics.moments["written"][site.name][row]
            torch.testing.assert_close(found_F.float(), expected_F)
            assert found_F.any()


def test_what_packed_sentences_write_is_told_apart():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 4))
    site = Site("layers", 0, 6)
    statistics = ActivationStatistics(["one", "two"], [site], moments=["written"])
    recorder, x = ActivationRecorder(statistics), torch.randn(1, 5, 4)
    whose = torch.tensor([0, 0, 1, 1, 1])
    with recorder.attached({site: model[2]}):
        real = torch.tensor([[True, True, True, False, True]])
        recorder.observe(torch.tensor([1, 0]), {"layers": Positions(real, whose)})
        model(x)
    h_SF = model[1](model[0](x))[0].abs() * model[2].weight.norm(dim=0)
    expected = torch.stack([h_SF[2] + h_SF[4], h_SF[0] + h_SF[1]])
    torch.testing.assert_close(statistics.moments["written"][site.name].float(), expected)
