"""What the layers of a language model predict of a text: how well, and in which script.

After the language-arithmetics code (arXiv 2507.22608), which prints the five likeliest tokens of
each layer with a guess of their language. Most tokens are of no one language, so here they are told
apart by the script of their letters alone (`token_script`); the text's own tokens are counted in
the same way, for what a share is to be compared with.

Shape suffixes: L layers, K scripts, B contexts of a batch, S positions, V vocabulary, D width.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import torch
from torch import Tensor

from nsmt.evaluation.language_models.perplexity import nll
from nsmt.steering.lens import residual_stream, unembedded
from nsmt.steering.loading import LanguageModel

# What a token is that has no script.
PART, MIXED, NO_LETTERS = "part of a character", "several scripts", "no letters"
_NAMES: Final = {
    "Cjk": "Han",
    "Ideographic": "Han",
    "Hentaigana": "Hiragana",
    "Feminine": "Latin",
    "Masculine": "Latin",
}
# First words of the names of characters that go with any script: accents, ー, µ.
_ANY: Final = frozenset({"Combining", "Modifier", "Katakana-Hiragana", "Micro", "Variation", ""})
# Before the script in names of other widths.
_WIDTHS: Final = re.compile("^(FULL|HALF)WIDTH ")


@dataclass(frozen=True, slots=True)
class Reading:
    """Sums over the predicted tokens of a text, by layer from the first.

    `nll` in nats; `agreed` counts positions whose likeliest token is the last layer's; `shares`
    sums the probability of the tokens of each script; `text` counts the text's own.
    """

    tokens: int
    nll: list[float]
    agreed: list[int]
    shares: list[list[float]]
    text: list[int]


def token_script(text: str) -> str:
    """The script of all letters and marks of a token, by the names that Unicode gives them.

    A token of some bytes of a character has none that can be told.
    """
    if "\ufffd" in text:
        return PART
    words = {
        _WIDTHS.sub("", unicodedata.name(character, "")).partition(" ")[0].title()
        for character in text
        if unicodedata.category(character)[0] in "LM"
    } - _ANY
    scripts = {_NAMES.get(word, word) for word in words}
    return MIXED if len(scripts) > 1 else next(iter(scripts), NO_LETTERS)


def vocabulary_scripts(tokenizer: Any, size: int) -> tuple[list[str], Tensor]:  # noqa: ANN401
    """The scripts of a vocabulary, and which each of `size` tokens has: int64 [V].

    Special tokens, and rows of the head that are no token, have no letters.
    """
    count = min(size, len(tokenizer))
    texts = tokenizer.batch_decode([[token] for token in range(count)])
    found = [token_script(text) for text in texts] + [NO_LETTERS] * (size - count)
    for token in tokenizer.all_special_ids:
        # Some tokenizers have more of them than the head has rows.
        if token < size:
            found[token] = NO_LETTERS
    scripts = sorted(set(found))
    place = {script: number for number, script in enumerate(scripts)}
    return scripts, torch.tensor([place[script] for script in found])


@torch.inference_mode()
def lens(
    model: LanguageModel,
    contexts: Sequence[Sequence[int]],
    script_V: Tensor,
    scripts: int,
    *,
    rows: int,
) -> Reading:
    """Read contexts of one length, `rows` at a time; the first token of each is given."""
    layers = len(model.taps)
    nll_L, agreed_L, tokens = [0.0] * layers, [0] * layers, 0
    shares_LK = torch.zeros(layers, scripts, dtype=torch.float64)
    text_K = torch.zeros(scripts, dtype=torch.int64)
    for start in range(0, len(contexts), rows):
        ids_BS = torch.tensor(contexts[start : start + rows], device=model.device)
        with residual_stream(model.model) as stream_L:
            model.body(input_ids=ids_BS, use_cache=False)
        for row, ids_S in enumerate(ids_BS):
            target_S, top_S = ids_S[1:], None
            text_K += script_V[target_S.cpu()].bincount(minlength=scripts)
            tokens += len(target_S)
            for layer in reversed(range(layers)):
                # Row by row: the logits of one context are large enough.
                logits_SV = unembedded(model.model, stream_L[layer][row : row + 1, :-1])[0].float()
                here_S = logits_SV.argmax(-1)
                top_S = here_S if top_S is None else top_S
                nll_L[layer] += nll(logits_SV, target_S).item()
                agreed_L[layer] += int((here_S == top_S).sum())
                mass_V = logits_SV.softmax(-1).sum(0).double().cpu()
                shares_LK[layer].index_add_(0, script_V, mass_V)
    return Reading(tokens, nll_L, agreed_L, shares_LK.tolist(), text_K.tolist())
