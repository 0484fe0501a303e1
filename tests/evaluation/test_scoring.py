import pytest
import sentencepiece
from sacrebleu.metrics import BLEU, CHRF
from sacrebleu.tokenizers import tokenizer_spm

from nsmt.commands.train import check_consistency
from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation import scoring
from nsmt.evaluation.scoring import score

HYPOTHESES = ["the cat sat on the mat .", "a dog barked at the old postman", "no"]
REFERENCES = ["the cat is on the mat .", "the dog barked at the postman", "yes"]


def test_scores_are_those_of_sacrebleu():
    scores = score(HYPOTHESES, REFERENCES)
    assert scores["bleu"].value == BLEU().corpus_score(HYPOTHESES, [REFERENCES]).score
    expected = CHRF(word_order=2).corpus_score(HYPOTHESES, [REFERENCES]).score
    assert scores["chrf++"].value == expected


# Invented, and pinned with the scores that sacreBLEU 2.6.0 gave: an update of it that changes what
# a published number means must not pass unseen. Scripts, case, numbers, an empty line, a long one.
PINNED = {
    "Der Zug nach Berlin fährt um 8.15 Uhr ab.": "Der Zug nach Berlin fährt um 8:15 Uhr.",
    "Sie kaufte drei Äpfel, zwei Birnen und Brot.": "Sie kaufte 3 Äpfel, 2 Birnen und ein Brot.",
    "Поезд опоздал на десять минут.": "Поезд опоздал примерно на десять минут.",
    "बारिश के कारण स्कूल बंद है।": "बारिश की वजह से स्कूल बंद है।",
    "ባቡሩ ዛሬ አይመጣም።": "ባቡሩ ዛሬ አልመጣም።",
    "": "Nothing was translated here.",
    "The (old) bridge — built in 1,894 — isn't open; see p. 7!": (
        'The "old" bridge, built in 1,894, is not open; see p. 7!'
    ),
}


def test_scores_are_pinned_to_the_last_digit():
    scores = score(list(PINNED), list(PINNED.values()))
    assert scores["bleu"].value == pytest.approx(34.061074734443785, abs=1e-10)
    assert scores["chrf++"].value == pytest.approx(58.923429736078084, abs=1e-10)


def test_signatures_are_those_of_the_paper_but_for_the_version():
    scores = score(HYPOTHESES, REFERENCES)
    stems = {key: entry.signature.rpartition("|version:")[0] for key, entry in scores.items()}
    assert stems == {
        "bleu": "nrefs:1|case:mixed|eff:no|tok:13a|smooth:exp",
        "chrf++": "nrefs:1|case:mixed|eff:yes|nc:6|nw:2|space:no",
    }


def test_another_tokeniser_shows_in_the_signature():
    entry = score(HYPOTHESES, REFERENCES, tokenizer="char")["bleu"]
    assert "tok:char" in entry.signature
    assert entry.value != score(HYPOTHESES, REFERENCES)["bleu"].value


def test_unknown_tokeniser_is_answered_with_the_nearest():
    with pytest.raises(ConfigurationError, match="did you mean '13a'"):
        score(HYPOTHESES, REFERENCES, tokenizer="v13a")


@pytest.mark.parametrize(("hypotheses", "references"), [(["a"], ["a", "b"]), ([], [])])
def test_unequal_or_empty_test_sets_are_refused(hypotheses, references):
    with pytest.raises(DataError):
        score(hypotheses, references)


@pytest.fixture
def sacrebleu_folder(tmp_path, monkeypatch):
    """An empty folder in the place of ~/.sacrebleu."""
    for module in (scoring, tokenizer_spm):
        monkeypatch.setattr(module, "SACREBLEU_DIR", str(tmp_path))
    return tmp_path


def test_spbleu_reads_the_model_where_sacrebleu_keeps_it(sacrebleu_folder):
    text = sacrebleu_folder / "text"
    text.write_text("".join(f"{line}\n" for line in [*HYPOTHESES, *REFERENCES] * 4))
    (sacrebleu_folder / "models").mkdir()
    prefix = sacrebleu_folder / "models" / "flores200sacrebleuspm"
    sentencepiece.SentencePieceTrainer.train(
        input=str(text), model_prefix=str(prefix), vocab_size=27, minloglevel=2
    )
    prefix.with_suffix(".model").rename(prefix)
    pieces = sentencepiece.SentencePieceProcessor(str(prefix)).encode_as_pieces
    found = score(HYPOTHESES, REFERENCES, tokenizer="flores200")["bleu"]
    split = [[" ".join(pieces(line)) for line in lines] for lines in (HYPOTHESES, REFERENCES)]
    expected = BLEU(tokenize="none", force=True).corpus_score(split[0], [split[1]]).score
    assert found.value == pytest.approx(expected)
    assert "tok:flores200" in found.signature


def test_spbleu_without_its_model_names_the_file_and_fetches_nothing(sacrebleu_folder, monkeypatch):
    monkeypatch.setattr(tokenizer_spm, "download_file", lambda *_: pytest.fail("a download"))
    with pytest.raises(ConfigurationError, match="flores200sacrebleuspm") as error:
        score(HYPOTHESES, REFERENCES, tokenizer="flores200")
    assert (
        f"curl -L --create-dirs -o {sacrebleu_folder}/models/flores200sacrebleuspm"
        in error.value.fix
    )


@pytest.mark.parametrize(("tokenizer", "extra"), [("ja-mecab", "ja"), ("ko-mecab", "ko")])
def test_a_tokeniser_whose_packages_are_missing_names_the_extra(tokenizer, extra, monkeypatch):
    monkeypatch.setattr(scoring, "find_spec", lambda _: None)
    with pytest.raises(ConfigurationError, match="needs") as error:
        score(HYPOTHESES, REFERENCES, tokenizer=tokenizer)
    assert f"sacrebleu[{extra}]" in error.value.fix


def test_a_run_with_the_default_tokeniser_keeps_its_name(small_config):
    plain = small_config()
    assert "tokenizer" not in plain.identity()["test"]
    assert small_config("test.tokenizer=char").run_name != plain.run_name
    with pytest.raises(ConfigurationError, match=r"test\.tokenizer"):
        small_config("test.tokenizer=char13")


@pytest.mark.usefixtures("sacrebleu_folder")
def test_training_asks_for_the_model_of_spbleu_before_any_work(small_config):
    with pytest.raises(ConfigurationError, match=r"test\.tokenizer: .*flores200sacrebleuspm"):
        check_consistency(small_config("test.tokenizer=flores200"))
