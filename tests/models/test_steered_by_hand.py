"""A model of two neurons, one of each language: what adding and switching off make of it, by hand.

The stream is zero but for what the two neurons of the decoder write: neuron 0, which is English and
puts out 1, writes along the first axis, on which the output has "hello"; neuron 1, which is German
and silent, along the second, on which it has "hallo". The last norm makes of (a, b, 0, 0) what is
left of it less its mean, by its deviation.
"""

import pytest
import torch

from nsmt.data.batch import SequenceFormat
from nsmt.languages import Direction
from nsmt.models.decoding import DecodingSettings, search
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.steering.interventions import Intervention, LanguageNeurons
from nsmt.steering.translation_models import Steering, steered_directions

EOS, HELLO, HALLO = 2, 7, 8
FRENCH_TO_GERMAN = Direction("fr", "de")


@pytest.fixture
def model():
    settings = ModelSettings(
        encoder_layers=1,
        decoder_layers=1,
        d_model=4,
        d_ff=2,
        heads=1,
        max_positions=8,
        share_embeddings="none",
    )
    model = Transformer(settings, vocabulary_size=9, pad=0).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
        model.positions_PD.zero_()
        block = model.decoder_stack[0].feed_forward
        block.fc1.bias.copy_(torch.tensor([1.0, -1.0]))
        block.fc2.weight[0, 0] = block.fc2.weight[1, 1] = 1.0
        model.decoder_norm.weight.fill_(1.0)
        model.output.weight[HELLO, 0] = model.output.weight[HALLO, 1] = 1.0
    return model


@pytest.fixture
def neurons(model):
    """On German text, neuron 1 puts out 2 at the mean: 6 over 3 tokens."""
    (site,) = (site for site in model.sites if site.stack == "decoder")
    masks = {site.name: torch.tensor([[True, False], [False, True]])}
    statistics = ActivationStatistics(["en", "de"], [site], moments=("sum",))
    statistics.units[site.name] += torch.tensor([4, 3])
    statistics.moments["sum"][site.name] += torch.tensor([[4.0, 0.0], [1.0, 6.0]])
    return {
        "decoder": LanguageNeurons(NeuronAtlas.from_masks(["en", "de"], [site], masks), statistics)
    }


ADD = Intervention(operation="add", languages=("de",))
OFF = Intervention(operation="constant", value=0.0, languages=("en",))


@pytest.mark.parametrize(
    ("program", "written", "hello", "hallo"),
    [
        # (1, 0, 0, 0): mean 1/4, deviation sqrt(3)/4.
        ((), HELLO, 1.7320, -0.5773),
        # (1, 2, 0, 0): mean 3/4, deviation sqrt(11)/4.
        ((ADD,), HALLO, 0.3015, 1.5075),
        # Half of it is (1, 1, 0, 0), as much of either.
        ((ADD.model_copy(update={"strength": 0.5}),), None, 1.0, 1.0),
        # (0, 2, 0, 0): mean 1/2, deviation sqrt(3)/2.
        ((OFF, ADD), HALLO, -0.5773, 1.7320),
        # (0, 0, 0, 0) says nothing; and the neuron of German, replaced, puts out 2 again.
        ((OFF,), None, 0.0, 0.0),
        ((ADD.model_copy(update={"operation": "replace"}),), HALLO, 0.3015, 1.5075),
    ],
)
def test_adding_the_targets_neurons_turns_hello_into_hallo(
    model, neurons, program, written, hello, hallo
):
    sequences = SequenceFormat(pad=0, eos=EOS, tags={"fr": 4, "de": 5})
    batch = sequences.collate([torch.tensor([3]).numpy()], [[]], [FRENCH_TO_GERMAN], rows=[0])
    steering = Steering(neurons, {FRENCH_TO_GERMAN: {"decoder": program}})
    settings = DecodingSettings(beam=1, max_length_extra=2)
    with torch.no_grad(), steered_directions(model, [FRENCH_TO_GERMAN], steering) as rows:
        rows.observe(batch)
        logits_V = model.output(model(batch))[0, -1]
        (found,) = search(model, batch, eos=EOS, settings=settings, follow=rows.keep)
    assert logits_V[[HELLO, HALLO]].tolist() == pytest.approx([hello, hallo], abs=1e-3)
    assert written is None or found.tokens == [written]


def test_the_noise_of_the_encoder_is_not_that_of_the_decoder(model):
    found = {}
    steering = Steering(
        {site.stack: all_neurons(site) for site in model.sites},
        {
            FRENCH_TO_GERMAN: {
                site.stack: (Intervention(operation="random", languages=("de",), value=1.0),)
                for site in model.sites
            }
        },
    )
    sequences = SequenceFormat(pad=0, eos=EOS, tags={"fr": 4, "de": 5})
    pieces = [torch.tensor([3, 3]).numpy()]
    batch = sequences.collate(pieces, pieces, [FRENCH_TO_GERMAN], rows=[0])
    with torch.no_grad(), steered_directions(model, [FRENCH_TO_GERMAN], steering) as rows:
        rows.observe(batch)
        for site, second in model.projections.items():
            second.register_forward_pre_hook(
                lambda _, inputs, site=site: found.update({site.stack: inputs[0]})
            )
        model(batch)
    assert found["encoder"].shape == found["decoder"].shape == (1, 4, 2)
    assert not torch.allclose(found["encoder"], found["decoder"], atol=1e-3)


def all_neurons(site):
    """Of German, with a deviation of 1."""
    statistics = ActivationStatistics(["de"], [site], moments=("sum", "square"))
    statistics.units[site.name] += 4
    statistics.moments["square"][site.name] += 4
    masks = {site.name: torch.ones(1, site.width, dtype=torch.bool)}
    return LanguageNeurons(NeuronAtlas.from_masks(["de"], [site], masks), statistics)
