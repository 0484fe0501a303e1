"""A joint SentencePiece vocabulary with one tag a language, trained when a corpus is prepared.

Tags such as `<2de>` are control symbols: no text is ever encoded to one. SentencePiece's own
normalisation is off ("identity"), because its default turns the joiners of Hindi and Persian into
spaces; `nsmt.data.text.normalise` stands in, for training and for encoding alike. Training
is single-threaded and writes no path into the model, so equal text gives equal bytes.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
import sentencepiece as spm

from nsmt.data.settings import VocabularySettings
from nsmt.data.text import normalise
from nsmt.errors import ConfigurationError, DataError

# The name of its file in a corpus and in a checkpoint.
VOCABULARY = "vocabulary.model"
_TAG = re.compile(r"<2([A-Za-z_]+)>\Z")
_SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
# SentencePiece drops longer sentences (in bytes) from training without a word.
_LONGEST_SENTENCE = 1 << 16
_TOGETHER = 500


class Vocabulary:
    """Pieces, specials and language tags; ids of specials are fixed at 0 to 3."""

    pad, bos, eos, unk = range(4)

    def __init__(self, model: bytes) -> None:
        """Read a serialised SentencePiece model; DataError if it is not one of ours."""
        self._model = model
        self.processor = spm.SentencePieceProcessor()
        try:
            self.processor.LoadFromSerializedProto(model)
        except RuntimeError:
            raise DataError(
                "the vocabulary is not a SentencePiece model", fix="prepare the corpus again"
            ) from None
        pieces = [self.processor.IdToPiece(row) for row in range(self.size)]
        if tuple(pieces[:4]) != _SPECIALS:
            raise DataError(
                f"the vocabulary begins with {pieces[:4]} instead of {list(_SPECIALS)}",
                fix="use a vocabulary that nsmt trained",
            )
        matches = ((row, _TAG.match(piece)) for row, piece in enumerate(pieces))
        self.tags: Mapping[str, int] = {
            match[1]: row
            for row, match in matches
            if match is not None and self.processor.IsControl(row)
        }

    @classmethod
    def train(
        cls, sentences: Iterable[str], *, languages: Sequence[str], settings: VocabularySettings
    ) -> Vocabulary:
        """Learn pieces from text; a size that the text cannot fill is a DataError with a bound."""
        model = io.BytesIO()
        try:
            spm.SentencePieceTrainer.Train(
                sentence_iterator=(normalise(sentence) for sentence in sentences),
                model_writer=model,
                model_type=settings.kind,
                vocab_size=settings.size,
                character_coverage=settings.character_coverage,
                byte_fallback=settings.byte_fallback,
                control_symbols=[f"<2{language}>" for language in languages],
                normalization_rule_name="identity",
                pad_id=cls.pad,
                bos_id=cls.bos,
                eos_id=cls.eos,
                unk_id=cls.unk,
                pad_piece="<pad>",
                num_threads=1,
                max_sentence_length=_LONGEST_SENTENCE,
                train_extremely_large_corpus=True,
                minloglevel=2,
            )
        except RuntimeError as error:
            raise _explain(error, settings) from None
        return cls(model.getvalue())

    @classmethod
    def given(cls, model: str, *, languages: Sequence[str]) -> Vocabulary:
        """The vocabulary of an existing model: its file, or a folder that holds it.

        Raises DataError if it is missing or lacks the tag of a language.
        """
        path = Path(model).expanduser()
        vocabulary = cls.load(path / VOCABULARY if path.is_dir() else path)
        lacking = [code for code in languages if code not in vocabulary.tags]
        if lacking:
            raise DataError(
                f"the vocabulary {model} has no tag for {', '.join(lacking)}",
                fix=f"prepare languages that it has: {', '.join(vocabulary.languages)}",
            )
        return vocabulary

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """Read what `save` wrote."""
        try:
            return cls(path.read_bytes())
        except OSError as error:
            raise DataError(
                f"cannot read the vocabulary {path}: {error.strerror}",
                fix="correct the path, or prepare the corpus again",
            ) from None

    def save(self, path: Path) -> None:
        """Write the SentencePiece model as it is."""
        path.write_bytes(self._model)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Piece ids of each text, without tags, <s> or </s>."""
        normal = [normalise(text) for text in texts]
        # Corpora are encoded by a process a core, which SentencePiece's threads would crowd.
        encoded: list[list[int]] = self.processor.Encode(normal, num_threads=1)
        return encoded

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The same in arrays: the ids of all texts one after the other, and how many each has.

        A few texts at a time: Python's garbage collector looks through all lists there are, again
        and again, which took a quarter of the time of encoding large blocks.
        """
        ids, lengths = [np.empty(0, np.int32)], [np.empty(0, np.int32)]
        for first in range(0, len(texts), _TOGETHER):
            encoded = self.encode(texts[first : first + _TOGETHER])
            counts = np.fromiter(map(len, encoded), np.int32, len(encoded))
            ids.append(np.fromiter(chain.from_iterable(encoded), np.int32, int(counts.sum())))
            lengths.append(counts)
        return np.concatenate(ids), np.concatenate(lengths)

    def decode(self, sequences: Sequence[Sequence[int]]) -> list[str]:
        """The text of each sequence; tags, <pad>, <s> and </s> are passed over."""
        silent = {self.pad, self.bos, self.eos, *self.tags.values()}
        pieces = [[int(row) for row in ids if int(row) not in silent] for ids in sequences]
        # SentencePiece takes a list of empty lists for a list of ids.
        return [self.processor.DecodeIds(ids) if ids else "" for ids in pieces]

    def tag(self, language: str) -> int:
        """The id of a language's tag; a ConfigurationError names those known."""
        try:
            return self.tags[language]
        except KeyError:
            raise ConfigurationError(
                f"the vocabulary has no tag for language '{language}'",
                fix=f"use one of {', '.join(self.languages)}, or prepare a corpus that has it",
            ) from None

    @property
    def size(self) -> int:
        """Number of ids, specials and tags included."""
        return int(self.processor.GetPieceSize())

    @property
    def languages(self) -> tuple[str, ...]:
        """Codes of the languages that have a tag, in the order of their ids."""
        return tuple(self.tags)

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the model file."""
        return hashlib.sha256(self._model).hexdigest()

    def piece(self, row: int) -> str:
        """The piece of one id, as SentencePiece writes it."""
        return str(self.processor.IdToPiece(row))


def _explain(error: RuntimeError, settings: VocabularySettings) -> DataError:
    message = str(error)
    if bound := re.search(r"value <= (\d+)", message):
        return DataError(
            f"the text has too few distinct pieces for data.vocabulary.size {settings.size}",
            fix=f"set data.vocabulary.size to at most {bound[1]}, or prepare more text",
        )
    if needed := re.search(r"required_chars\D*\d+ vs (\d+)", message):
        return DataError(
            f"data.vocabulary.size {settings.size} cannot hold every character of the text",
            fix=f"set data.vocabulary.size to at least {needed[1]}, or lower .character_coverage",
        )
    return DataError(
        f"SentencePiece could not learn a vocabulary: {message.strip()}",
        fix="change data.vocabulary.size, .kind or .character_coverage",
    )
