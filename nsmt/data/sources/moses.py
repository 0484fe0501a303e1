"""Text as the Moses scripts leave it: the form in which EC30 is published and IWSLT-14 is cut.

Both recipes run the Perl scripts; sacremoses is their translation to Python and may differ from
them in single tokens. A language without rules of its own gets the English ones.
"""

from __future__ import annotations

from collections.abc import Callable

from sacremoses import MosesDetokenizer, MosesPunctNormalizer, MosesTokenizer

from nsmt.data.evaluation_settings import TextForm


def text_form(form: TextForm, language: str) -> Callable[[str], str]:
    """A function that brings raw text into a form."""
    match form:
        case "raw":
            return str
        case "tokenised":
            return tokeniser(language)
        case "detokenised":
            tokenise, detokenise = tokeniser(language), detokeniser(language)
            return lambda text: detokenise(tokenise(text))


def tokeniser(language: str) -> Callable[[str], str]:
    """EC30's preprocessing: punctuation normalised, hyphens split (@-@), nothing escaped.

    Source: scripts of the EC40 release; "Neuron Specialization" trains on their output.
    """
    normaliser, tokenizer = MosesPunctNormalizer(lang=language), MosesTokenizer(lang=language)

    def tokenise(text: str) -> str:
        tokens: str = tokenizer.tokenize(
            normaliser.normalize(text), aggressive_dash_splits=True, return_str=True, escape=False
        )
        return tokens

    return tokenise


def detokeniser(language: str) -> Callable[[str], str]:
    """Running text from tokens split at spaces, as hypotheses and references are scored."""
    detokenizer = MosesDetokenizer(lang=language)

    def detokenise(text: str) -> str:
        running: str = detokenizer.detokenize(text.split())
        return running

    return detokenise
