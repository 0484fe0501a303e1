"""A corpus made up of nothing but lengths is read like any other."""

import pickle
from itertools import islice

import numpy as np
import pytest

from nsmt.benchmarks.made_up import MadeUpCorpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings

LENGTHS = [(3, 5), (7, 4), (9, 9)]


@pytest.fixture
def corpus():
    return MadeUpCorpus(LENGTHS, vocabulary=500, directions=60, sentences=40, pieces=20)


def test_sentences_are_as_long_as_those_drawn_from_and_targets_repeat_their_source(corpus):
    assert len(set(corpus.directions)) == 60
    for direction in corpus.directions[:2]:
        table = corpus.table(direction, "train")
        assert len(table) == 40
        pairs = set(zip(table.source_lengths.tolist(), table.target_lengths.tolist(), strict=True))
        into_pivot = direction.target == corpus.pivot
        assert pairs == ({pair[::-1] for pair in LENGTHS} if into_pivot else set(LENGTHS))
    there, back = (corpus.table(each, "train") for each in corpus.directions[:2])
    assert (there.target(0) == np.resize(there.source(0), len(there.target(0)))).all()
    assert (there.target(0) == back.source(0)).all()
    pieces = np.concatenate([corpus.table(d, "train").source(0) for d in corpus.directions])
    assert pieces.min() > max(corpus.vocabulary.tags.values())
    assert pieces.max() < corpus.vocabulary.size


def test_its_text_names_its_pieces(corpus):
    direction = corpus.directions[0]
    lines, _ = corpus.texts(direction, "test")
    assert corpus.vocabulary.encode(lines)[1] == corpus.table(direction, "test").source(1).tolist()
    assert corpus.vocabulary.decode(corpus.vocabulary.encode(lines)) == lines


@pytest.mark.parametrize("layout", ["padded", "packed"])
def test_batches_are_read_from_it_here_and_in_another_process(corpus, layout):
    batch = BatchSettings(layout=layout, tokens=128)
    again = pickle.loads(pickle.dumps(corpus))
    assert again.fingerprint == corpus.fingerprint
    read = [
        list(
            islice(
                iter(
                    TranslationData(each, batch=batch, temperature=1.0, seed=0).train_dataloader()
                ),
                3,
            )
        )
        for each in (corpus, again)
    ]
    for one, other in zip(*read, strict=True):
        assert (one.source_BS == other.source_BS).all()
    assert len(set(read[0][0].rows)) > 5
