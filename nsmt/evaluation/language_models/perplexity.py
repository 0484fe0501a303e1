"""How much worse a model predicts each language when neurons are switched off: LAPE's own test.

Source: LAPE (arXiv 2402.16438, section 3.2): the change of perplexity on text of each language when
the neurons of each language are deactivated. A set of as many random neurons of the same layers is
the control without which a change says nothing.

Shape suffixes: B contexts of a batch, S positions, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from nsmt.steering.loading import LanguageModel


@dataclass(frozen=True, slots=True)
class Likelihood:
    """The summed negative log-likelihood of a text, in nats, and its predicted tokens."""

    nll: float
    tokens: int


def nll(logits_SV: Tensor, target_S: Tensor) -> Tensor:
    """Nats of all targets together, on the device of the logits: the head's, where input is not."""
    return F.cross_entropy(logits_SV.float(), target_S.to(logits_SV.device), reduction="sum")


@torch.inference_mode()
def likelihood(model: LanguageModel, contexts: Sequence[Sequence[int]], *, rows: int) -> Likelihood:
    """Of contexts of one length, `rows` at a time; the first token of each is given."""
    total, tokens = 0.0, 0
    for start in range(0, len(contexts), rows):
        ids_BS = torch.tensor(contexts[start : start + rows], device=model.device)
        logits_BSV = model.model(input_ids=ids_BS, use_cache=False).logits[:, :-1]
        for logits_SV, target_S in zip(logits_BSV, ids_BS[:, 1:], strict=True):
            total += nll(logits_SV, target_S).item()
        tokens += ids_BS[:, 1:].numel()
    return Likelihood(total, tokens)


def perplexities(
    model: LanguageModel,
    texts: Mapping[str, Sequence[Sequence[int]]],
    changes: Mapping[str, Callable[[], AbstractContextManager[None]]],
    *,
    rows: int,
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, dict[str, Likelihood]]:
    """For each named change of the model, and then for each language, how likely its text is."""
    found: dict[str, dict[str, Likelihood]] = {}
    for name, change in changes.items():
        with change():
            found[name] = {}
            for language, contexts in texts.items():
                found[name][language] = likelihood(model, contexts, rows=rows)
                tell(f"{name} on {language}")
    return found
