import math
from dataclasses import dataclass, replace

import pytest
import torch
from pydantic import ValidationError

from nsmt.data.batch import BatchLayout
from nsmt.errors import CheckpointError
from nsmt.models import cache
from nsmt.models.decoding import DecodingSettings, search
from nsmt.models.masks import DirectionMasks

PAD, EOS = 0, 2


@dataclass
class Task:
    """A model, the sentences to translate, and their masks."""

    model: object
    batch: object
    masks: dict | None

    @property
    def tags(self):
        return self.batch.target_out_BT[:, 0]

    def search(self, rows=None, **settings):
        rows = torch.arange(len(self.batch)) if rows is None else torch.tensor(rows)
        masks = self.masks and {site: mask[rows] for site, mask in self.masks.items()}
        width = int(self.batch.source_real_BS[rows].sum(1).max())
        batch = replace(
            self.batch,
            source_BS=self.batch.source_BS[rows, :width],
            source_real_BS=self.batch.source_real_BS[rows, :width],
            target_out_BT=self.batch.target_out_BT[rows],
            direction_C=self.batch.direction_C[rows],
        )
        settings = DecodingSettings(**settings)
        return search(self.model, batch, eos=EOS, masks=masks, settings=settings)


@pytest.fixture(params=[False, True], ids=["dense", "masked"], scope="module")
def task(request, make_model, make_sentences, make_batch, make_atlas, directions):
    model = make_model(5, share_embeddings="none")
    with torch.no_grad():
        # Peaked enough to have favourites, with an end that is likely now and then.
        model.output.weight *= 2.5
        model.output.weight[EOS] *= 1.5
    batch = make_batch(make_sentences(10, seed=4))
    masks = None
    if request.param:
        sites = DirectionMasks(make_atlas(model, share=0.7), directions, sites=model.sites)
        masks = sites(batch)
    return Task(model, batch, masks)


def limit_of(task, row, factor, extra):
    length = int(task.batch.source_real_BS[row].sum())
    return min(math.floor(factor * length + extra), task.model.settings.max_positions - 1)


@torch.no_grad()
def next_log_probabilities(task, row, prefix):
    """By a whole forward pass over one sentence and one prefix: nothing cached or shared."""
    model, batch = task.model, task.batch
    real = batch.source_real_BS[row : row + 1]
    source = batch.source_BS[row : row + 1][real][None]
    masks = task.masks and {site: mask[row : row + 1] for site, mask in task.masks.items()}
    alone = BatchLayout(
        source_BS=source,
        source_real_BS=torch.ones_like(source, dtype=torch.bool),
        target_in_BT=torch.tensor([prefix]),
        target_out_BT=torch.tensor([prefix]),
        target_real_BT=torch.ones(1, len(prefix), dtype=torch.bool),
        counted_N=torch.arange(len(prefix)),
        direction_C=batch.direction_C[row : row + 1],
        update_tokens=1,
    )
    return model.output(model(alone, masks)[0, -1]).log_softmax(-1).tolist()


def slow_beam_search(task, row, *, beam, penalty, limit):
    """Every ended hypothesis (tokens, score) of one sentence."""
    tag = int(task.tags[row])
    live = [([tag], next_log_probabilities(task, row, [EOS])[tag])]
    ended = []
    while True:
        candidates = []
        for tokens, score in live:
            following = next_log_probabilities(task, row, [EOS, *tokens])
            for token, more in enumerate(following):
                allowed = token == EOS if len(tokens) >= limit else token != PAD
                if allowed:
                    candidates.append(([*tokens, token], score + more))
        candidates.sort(key=lambda candidate: -candidate[1])
        candidates = candidates[: 2 * beam]
        for tokens, score in candidates[:beam]:
            if tokens[-1] == EOS and len(ended) < beam:
                ended.append((tokens, score / len(tokens) ** penalty))
        live = [each for each in candidates if each[0][-1] != EOS][:beam]
        if len(ended) == beam or not live:
            return ended


@pytest.mark.parametrize(
    ("factor", "extra", "penalty"), [(0.0, 9, 1.0), (0.5, 1, 1.0), (1.3, 2, 0.0), (0.0, 1, 2.0)]
)
@pytest.mark.parametrize("beam", [1, 2, 4])
def test_search_equals_a_slow_beam_search_of_each_sentence(task, beam, factor, extra, penalty):
    found = task.search(
        beam=beam, length_penalty=penalty, max_length_factor=factor, max_length_extra=extra
    )
    for row, hypothesis in enumerate(found):
        limit = limit_of(task, row, factor, extra)
        ended = slow_beam_search(task, row, beam=beam, penalty=penalty, limit=limit)
        tokens, score = max(ended, key=lambda one: one[1])
        assert hypothesis.tokens == tokens[1:-1]
        assert hypothesis.score == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize("beam", [2, 4])
def test_long_searches_that_prune_their_cache_equal_slow_ones(
    make_model, make_sentences, make_batch, beam
):
    model = make_model(5, share_embeddings="none", max_positions=40)
    with torch.no_grad():
        model.output.weight *= 2.5
        # Ends are unlikely, so that room for keys and values is made again and again.
        model.output.weight[EOS] *= 0.1
    long = Task(model, make_batch(make_sentences(4, seed=4)), None)
    found = long.search(beam=beam, max_length_extra=30)
    assert max(len(each.tokens) for each in found) > 3 * cache._STEPS
    for row, hypothesis in enumerate(found):
        ended = slow_beam_search(long, row, beam=beam, penalty=1.0, limit=30)
        tokens, score = max(ended, key=lambda one: one[1])
        assert hypothesis.tokens == tokens[1:-1]
        assert hypothesis.score == pytest.approx(score, abs=1e-4)


def test_the_compared_searches_end_early_late_and_apart(task):
    lengths = [len(each.tokens) for each in task.search(beam=2, max_length_extra=9)]
    assert min(lengths) < 8 == max(lengths)
    assert len(set(lengths)) > 2


@pytest.mark.parametrize("beam", [1, 4])
def test_a_translation_does_not_depend_on_its_batch(task, beam):
    options = {"beam": beam, "max_length_factor": 0.7, "max_length_extra": 4}
    together = task.search(**options)
    for rows in ([3], [9, 0], [5, 5, 2], list(range(9, -1, -1))):
        for row, hypothesis in zip(rows, task.search(rows, **options), strict=True):
            assert hypothesis.tokens == together[row].tokens
            assert hypothesis.score == pytest.approx(together[row].score, abs=1e-5)


def test_greedy_search_takes_the_most_likely_token_each_time(task):
    for row, hypothesis in enumerate(task.search(beam=1, max_length_extra=8)):
        tokens = [int(task.tags[row])]
        score = next_log_probabilities(task, row, [EOS])[tokens[0]]
        while tokens[-1] != EOS:
            following = next_log_probabilities(task, row, [EOS, *tokens])
            following[PAD] = -math.inf
            token = following.index(max(following)) if len(tokens) < 8 else EOS
            score += following[token]
            tokens.append(token)
        assert hypothesis.tokens == tokens[1:-1]
        assert hypothesis.score == pytest.approx(score / len(tokens), abs=1e-4)


def test_hypotheses_hold_neither_tag_nor_end_nor_padding(task):
    for row, hypothesis in enumerate(task.search(beam=4, max_length_extra=9)):
        assert not {PAD, EOS} & set(hypothesis.tokens)
        # The tag is forced, whatever the model thinks of it, and never handed out.
        alone = task.search([row], beam=1, max_length_extra=1)[0]
        assert alone.tokens == []


def test_another_tag_makes_another_translation(task):
    found = task.search(beam=2, max_length_extra=9)
    tags = (task.tags - 4 + 1) % 3 + 4
    batch = replace(task.batch, target_out_BT=tags[:, None])
    others = Task(task.model, batch, task.masks).search(beam=2, max_length_extra=9)
    assert all(abs(a.score - b.score) > 1e-6 for a, b in zip(found, others, strict=True))


def test_the_length_limit_never_exceeds_the_models_positions(task):
    room = task.model.settings.max_positions
    for beam in (1, 3):
        found = task.search(beam=beam, max_length_extra=200)
        # Tag and </s> need a place too.
        assert max(len(each.tokens) for each in found) <= room - 2


def test_a_diverged_model_is_refused(task):
    weight = task.model.output.weight
    before = weight.detach().clone()
    try:
        with torch.no_grad():
            weight.fill_(math.nan)
        with pytest.raises(CheckpointError, match="diverged"):
            task.search()
    finally:
        with torch.no_grad():
            weight.copy_(before)


def test_a_beam_wider_than_the_vocabulary_is_no_problem(task):
    found = task.search([0, 1], beam=30, max_length_extra=3)
    assert all(math.isfinite(each.score) for each in found)


def test_a_wider_beam_finds_better_hypotheses_on_the_whole(task):
    scores = [
        sum(each.score for each in task.search(beam=beam, max_length_extra=9)) for beam in (1, 8)
    ]
    assert scores[1] > scores[0]


@pytest.mark.parametrize("change", [{"beam": 0}, {"max_length_extra": 0}, {"beams": 2}])
def test_settings_that_cannot_be_are_refused(change):
    with pytest.raises(ValidationError):
        DecodingSettings(**change)
