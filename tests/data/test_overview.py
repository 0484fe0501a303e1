"""The numbers of a corpus, against counting by hand."""

from collections import Counter

import pytest

from nsmt.data import overview as module
from nsmt.data.overview import LENGTH_BINS, fill, overview, sampling
from nsmt.data.settings import CleaningSettings, SplitSettings, VocabularySettings
from nsmt.data.sources.files import FilesSettings
from nsmt.languages import Direction


@pytest.fixture
def corpus(run, synthetic):
    return run(synthetic)


def sentences(corpus, code, split):
    """Every sentence of a language as a tuple of pieces, pair after pair."""
    found = []
    for pair in corpus.pairs:
        if code in (pair.source, pair.target):
            table = corpus.table(pair, split)
            side = table.source if code == pair.source else table.target
            found += [tuple(side(row).tolist()) for row in range(len(table))]
    return found


def test_tokens_words_and_lengths_are_those_counted_by_hand(corpus, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 17)
    found = overview(corpus)
    for code, entry in found.languages.items():
        own = sentences(corpus, code, "train")
        assert entry.sentences == len(own)
        assert entry.tokens == sum(map(len, own))
        assert entry.words == sum(len(text.split()) for text in corpus.vocabulary.decode(own))
        bins = Counter(max(b for b in LENGTH_BINS if b <= len(sentence)) for sentence in own)
        assert entry.lengths.tolist() == [bins[b] for b in LENGTH_BINS]
    for pair, counts in found.sentences.items():
        assert counts == {s: len(corpus.table(pair, s)) for s in ("train", "valid", "test")}


def test_overlap_is_that_of_the_sentences_themselves(run, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_CHUNK", 17)
    # German says in few ways what English says in many.
    english = [f"number {number} says so" for number in range(200)]
    german = [f"nummer {number % 9} sagt das" for number in range(200)]
    for code, lines in (("en", english), ("de", german)):
        path = tmp_path / f"train.en-de.{code}"
        path.write_text("".join(f"{line}\n" for line in lines))
    split = SplitSettings(valid=0.1, test=0.1)
    vocabulary = VocabularySettings(size=60)
    corpus = run(
        FilesSettings(
            source="files",
            root=str(tmp_path),
            pairs=("en-de",),
            split=split,
            vocabulary=vocabulary,
            workers=1,
        )
    )
    found = overview(corpus).overlap
    for code, of_split in found.items():
        train = set(sentences(corpus, code, "train"))
        for name, counts in of_split.items():
            held = set(sentences(corpus, code, name))
            assert counts == (len(held & train), len(held))
    assert found["en"]["test"][0] == 0
    assert found["de"]["test"][0] > 0


def test_sampling_shares_and_repetitions(corpus):
    found = sampling(corpus, 5.0)
    assert sum(share for share, _ in found.values()) == pytest.approx(1)
    total = sum(len(corpus.table(d, "train")) for d in corpus.directions)
    for direction, (share, often) in found.items():
        assert often == pytest.approx(share * total / len(corpus.table(direction, "train")))
    assert sampling(corpus, 1.0)[Direction("en", "de")][1] == pytest.approx(1)


def test_fill_is_a_share(corpus):
    found = fill(corpus, tokens=512)
    assert 0.8 < found["padded"] < 1
    assert 0.9 < found["packed"] <= 1


def test_real_lengths_fill_the_slots(run, synthetic):
    """The bar of 97 and 90 percent, on made-up text; benchmarks/ has it on real corpora."""
    settings = synthetic.model_copy(
        update={
            "sentences": 6000,
            "max_length": 40,
            "split": SplitSettings(valid=0.01, test=0.01),
            "cleaning": CleaningSettings(deduplicate=False),
        }
    )
    found = fill(run(settings), tokens=4096)
    assert found["packed"] >= 0.97
    assert found["padded"] >= 0.9
