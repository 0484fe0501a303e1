"""Claims about interventions on encoder-decoders: as written out, by direction, in any search."""

from dataclasses import replace

import pytest
import torch
from naive_transformer import naive_forward
from operations_by_hand import one_by_one

from nsmt.errors import ConfigurationError
from nsmt.models.decoding import DecodingSettings, search
from nsmt.models.linear import packed_weights
from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.steering.interventions import Intervention, LanguageNeurons
from nsmt.steering.translation_models import Steering, steered_directions

EOS = 2
STACKS = ("encoder", "decoder")
LANGUAGES = ("en", "de", "fr")


def step(operation, *languages, **options):
    return Intervention(operation=operation, languages=languages, **options)


# For en-de, de-en and en-fr.
PROGRAMS = (
    {
        "decoder": (
            step("constant", "en", "fr", value=0.2),
            step("add", "de", strength=1.5, ratio=0.4, layers=(1,)),
        ),
        "encoder": (step("multiply", "en", value=-0.5),),
    },
    {"decoder": (step("replace", "en"), step("diffmean", "en", layers=(1,), strength=-1.0))},
    {"encoder": (step("mean", "de", strength=0.5),), "decoder": (step("add", "fr"),)},
)


@pytest.fixture(scope="module")
def model(make_model):
    model = make_model(5, share_embeddings="none")
    with torch.no_grad():
        # Peaked enough to have favourites, with an end that is likely now and then.
        model.output.weight *= 2.5
        model.output.weight[EOS] *= 1.5
    return model


@pytest.fixture(scope="module")
def neurons(model):
    """Random sets of three languages in each stack, and made-up sums of what they fire."""
    generator = torch.Generator().manual_seed(1)
    found = {}
    for stack in STACKS:
        sites = [site for site in model.sites if site.stack == stack]
        statistics = ActivationStatistics(LANGUAGES, sites, moments=("sum",))
        masks = {}
        for site in sites:
            statistics.units[site.name] += torch.tensor([10, 20, 30])
            sums = torch.randint(1, 40, (3, site.width), generator=generator)
            statistics.moments["sum"][site.name] += sums
            masks[site.name] = torch.rand(3, site.width, generator=generator) < 0.4
        atlas = NeuronAtlas.from_masks(LANGUAGES, sites, masks)
        found[stack] = LanguageNeurons(atlas, statistics)
    return found


def steering_of(neurons, directions, programs=PROGRAMS):
    return Steering(neurons, dict(zip(directions, programs, strict=True)))


def by_hand(neurons, programs):
    """What programs do to the activations of a site."""

    def change(name, activation):
        own = neurons[name.partition(".")[0]]
        (site,) = (site for site in own.atlas.sites if site.name == name)
        return one_by_one(programs.get(site.stack, ()), own, site, activation)

    return change


def steered_hidden(model, directions, steering, batch):
    with torch.no_grad(), steered_directions(model, directions, steering) as rows:
        rows.observe(batch)
        return model(batch)


def searched(model, directions, steering, batch, **settings):
    settings = DecodingSettings(max_length_extra=9, **settings)
    with packed_weights(model), steered_directions(model, directions, steering) as rows:
        rows.observe(batch)
        return search(model, batch, eos=EOS, settings=settings, follow=rows.keep)


def alone(batch, row):
    """A sentence of a padded batch, by itself."""
    source = int(batch.source_real_BS[row].sum())
    rows = slice(row, row + 1)
    return replace(
        batch,
        source_BS=batch.source_BS[rows, :source],
        source_real_BS=batch.source_real_BS[rows, :source],
        target_out_BT=batch.target_out_BT[rows],
        direction_C=batch.direction_C[rows],
    )


@torch.no_grad()
def test_every_direction_is_steered_as_its_program_written_out(
    model, neurons, directions, make_sentences, make_batch
):
    batch = make_batch(make_sentences(9))
    assert set(batch.direction_C.tolist()) == {0, 1, 2}
    hidden = steered_hidden(model, directions, steering_of(neurons, directions), batch)
    plain = model(batch)
    for row, direction in enumerate(batch.direction_C.tolist()):
        source = batch.source_BS[row][batch.source_real_BS[row]].tolist()
        length = int(batch.target_real_BT[row].sum())
        given = batch.target_in_BT[row, :length].tolist()
        change = by_hand(neurons, PROGRAMS[direction])
        expected = naive_forward(model, source, given, change)
        torch.testing.assert_close(hidden[row, :length], expected, atol=5e-5, rtol=1e-4)
        assert not torch.allclose(hidden[row, :length], plain[row, :length], atol=1e-2)


@torch.no_grad()
def test_packed_sentences_are_steered_as_padded_ones(
    model, neurons, directions, make_sentences, make_batch, make_packed
):
    sentences = make_sentences(8)
    steering = steering_of(neurons, directions)
    padded, packed = make_batch(sentences), make_packed(sentences, spare=7)
    expected = padded.counted(steered_hidden(model, directions, steering, padded))
    found = packed.counted(steered_hidden(model, directions, steering, packed))
    torch.testing.assert_close(found, expected, atol=5e-5, rtol=1e-4)


@pytest.mark.parametrize("beam", [1, 4])
def test_a_search_over_mixed_directions_is_that_of_each_sentence_alone(
    model, neurons, directions, make_sentences, make_batch, beam
):
    batch = make_batch(make_sentences(12, seed=4))
    steering = steering_of(neurons, directions)
    found = searched(model, directions, steering, batch, beam=beam)
    # Rows leave the batch at different steps, so that the others move up.
    assert len({len(each.tokens) for each in found}) > 2
    plain = searched(model, directions, None, batch, beam=beam)
    assert [each.tokens for each in found] != [each.tokens for each in plain]
    for row, hypothesis in enumerate(found):
        direction = directions[int(batch.direction_C[row])]
        single = Steering(neurons, {direction: steering.programs[direction]})
        # Its only direction is row 0 of the list.
        itself = replace(alone(batch, row), direction_C=torch.tensor([0]))
        (expected,) = searched(model, [direction], single, itself, beam=beam)
        assert hypothesis.tokens == expected.tokens
        assert hypothesis.score == pytest.approx(expected.score, abs=1e-4)


@torch.no_grad()
def test_the_score_of_a_steered_hypothesis_is_that_of_the_written_out_model(
    model, neurons, directions, make_sentences, make_batch
):
    batch = make_batch(make_sentences(12, seed=4))
    found = searched(model, directions, steering_of(neurons, directions), batch, beam=3)
    for row, hypothesis in enumerate(found):
        source = batch.source_BS[row][batch.source_real_BS[row]].tolist()
        tag = int(batch.target_out_BT[row, 0])
        written = [tag, *hypothesis.tokens, EOS]
        change = by_hand(neurons, PROGRAMS[int(batch.direction_C[row])])
        hidden = naive_forward(model, source, [EOS, *written[:-1]], change)
        scores = model.output(hidden).log_softmax(-1)[range(len(written)), written]
        assert hypothesis.score == pytest.approx(scores.mean().item(), abs=1e-4)


@torch.no_grad()
def test_nothing_is_changed_at_strength_zero_nor_in_a_direction_left_alone(
    model, neurons, directions, make_sentences, make_batch
):
    batch = make_batch(make_sentences(9))
    plain = model(batch)
    nothing = [
        {
            stack: tuple(each.model_copy(update={"strength": 0.0}) for each in program)
            for stack, program in programs.items()
        }
        for programs in PROGRAMS
    ]
    steering = steering_of(neurons, directions, nothing)
    assert torch.equal(steered_hidden(model, directions, steering, batch), plain)
    beside = steering_of(neurons, directions, (PROGRAMS[0], {}, nothing[2]))
    found = steered_hidden(model, directions, beside, batch)
    touched = batch.direction_C == 0
    assert torch.equal(found[~touched], plain[~touched])
    assert not torch.allclose(found[touched], plain[touched], atol=1e-2)


@torch.no_grad()
def test_nothing_stays_behind(model, neurons, directions, make_sentences, make_batch):
    batch = make_batch(make_sentences(5))
    plain = model(batch)
    with (
        pytest.raises(KeyboardInterrupt),
        steered_directions(model, directions, steering_of(neurons, directions)),
    ):
        raise KeyboardInterrupt
    assert not any(module._forward_pre_hooks for module in model.modules())
    assert torch.equal(model(batch), plain)


@torch.no_grad()
def test_compiled_layers_are_steered_and_compiled_again(
    make_model, neurons, directions, make_sentences, make_batch
):
    model, batch = make_model(5, share_embeddings="none"), make_batch(make_sentences(5))
    steering = steering_of(neurons, directions)
    expected = steered_hidden(model, directions, steering, batch)
    model.compile_layers(backend="eager")
    plain = model(batch)
    assert torch.equal(steered_hidden(model, directions, steering, batch), expected)
    assert all(layer._compiled_call_impl is not None for layer in model.decoder)
    assert torch.equal(model(batch), plain)


def test_what_is_not_said_is_named(model, neurons, directions, make_sentences, make_batch):
    steering = Steering(neurons, {directions[0]: {}})
    with (
        pytest.raises(ConfigurationError, match=r"nothing is said of .* de-en"),
        steered_directions(model, directions, steering),
    ):
        pass
    alone = {"decoder": neurons["decoder"]}
    with (
        pytest.raises(ConfigurationError, match="programs for the encoder, and no neurons"),
        steered_directions(model, directions, steering_of(alone, directions)),
    ):
        pass
    steering = steering_of(neurons, directions)
    with (
        pytest.raises(RuntimeError, match="observe"),
        steered_directions(model, directions, steering),
    ):
        model(make_batch(make_sentences(3)))
