"""A training step beside those of other toolkits: same shape, same real batches, in turns.

A step is forward, label-smoothed loss, backward and fused AdamW. Masks are of random neurons, 70 %
of each direction's, as sparse as the paper's at its k.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from itertools import islice

import torch
from torch import Tensor, nn

from nsmt.benchmarks.peers import joeynmt, m2m100
from nsmt.benchmarks.timing import Figures, in_turns, matrix_product, product_flops, ratio
from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.languages import Direction
from nsmt.models.flops import TokenCounts, training_flops
from nsmt.models.loss import smoothed_cross_entropy, token_nll
from nsmt.models.masks import DirectionMasks
from nsmt.models.settings import ModelSettings
from nsmt.models.transformer import Transformer
from nsmt.neurons.atlas import NeuronAtlas

_SMOOTHING = 0.1
_KEPT = 0.7
_SEED = 0


class _Batches:
    """Real batches, one after the other; all contestants of a turn get the same."""

    def __init__(self, corpus: Corpus, batch: BatchSettings, *, count: int, device: str) -> None:
        data = TranslationData(corpus, batch=batch, temperature=1.0, seed=_SEED)
        read = islice(iter(data.train_dataloader()), count)
        self.all = [each.to(device) for each in read]
        self.tokens = [TokenCounts.of(each) for each in self.all]

    def feed(self, step: Callable[[BatchLayout], object]) -> Callable[[], object]:
        """A contestant that takes the next batch each time."""
        turn = iter(self.all)
        return lambda: step(next(turn))


def bench_train(
    corpus: Corpus, model: ModelSettings, batch: BatchSettings, *, repetitions: int, device: str
) -> Figures:
    """Tokens a second, operations a second and ratios of dense, masked and bf16 steps and peers."""
    batches = _Batches(corpus, batch, count=repetitions + 1, device=device)
    steps = _steps(corpus, model, device=device)
    kinds = {"fp32": torch.float32, "bf16": torch.bfloat16}
    contestants = {name: batches.feed(step) for name, step in steps.items()}
    contestants |= {f"product_{name}": matrix_product(device, k) for name, k in kinds.items()}
    seconds = in_turns(contestants, repetitions, device=device)
    counted = batches.tokens[1:]
    flops = [training_flops(model, vocabulary=corpus.vocabulary.size, tokens=t) for t in counted]
    found: Figures = {}
    for name in kinds:
        rates = [product_flops(device) / each / 1e9 for each in seconds.pop(f"product_{name}")]
        found[f"product_{name}_gflops"] = statistics.median(rates)
    for name, took in seconds.items():
        rate = statistics.median(each / s / 1e9 for each, s in zip(flops, took, strict=True))
        speed = statistics.median(t.target / s for t, s in zip(counted, took, strict=True))
        product = found["product_bf16_gflops" if "bf16" in name else "product_fp32_gflops"]
        found[f"{name}_target_tokens_per_second"] = speed
        found[f"{name}_gflops"] = rate
        found[f"{name}_share_of_product"] = rate / product
    for name in ("masked", "bf16"):
        found[f"{name}_over_dense_seconds"] = ratio(seconds[name], seconds["dense"])
    for peer in seconds.keys() - {"dense", "masked", "bf16"}:
        found[f"{peer}_over_dense_seconds"] = ratio(seconds[peer], seconds["dense"])
        found[f"{peer}_over_bf16_seconds"] = ratio(seconds[peer], seconds["bf16"])
    found["bf16_loss_over_fp32"] = _bf16_loss(corpus, model, batches.all)
    return found


def _steps(
    corpus: Corpus, settings: ModelSettings, *, device: str
) -> dict[str, Callable[[BatchLayout], object]]:
    """Each contestant has weights and an optimiser of its own."""
    vocabulary = corpus.vocabulary
    masks = _random_masks(corpus.directions, _model(corpus, settings)).to(device)
    steps: dict[str, Callable[[BatchLayout], object]] = {}
    for name in ("dense", "masked", "bf16"):
        model = _model(corpus, settings).to(device)
        steps[name] = _own_step(
            model, masks=masks if name == "masked" else None, reduced=name == "bf16", device=device
        )
    hugging_face = m2m100.m2m100_of(_model(corpus, settings).to(device), eos=vocabulary.eos).train()
    steps["m2m100"] = _step(
        hugging_face, lambda batch: m2m100.smoothed_loss(hugging_face, batch, smoothing=_SMOOTHING)
    )
    joey = joeynmt.joeynmt_like(
        settings,
        vocabulary=vocabulary.size,
        pad=vocabulary.pad,
        eos=vocabulary.eos,
        smoothing=_SMOOTHING,
    )
    if joey is not None:
        joey = joey.to(device).train()
        steps["joeynmt"] = _step(joey, lambda batch: joeynmt.smoothed_loss(joey, batch))
    return steps


def _own_step(
    model: Transformer, *, masks: DirectionMasks | None, reduced: bool, device: str
) -> Callable[[BatchLayout], object]:
    def loss_of(batch: BatchLayout) -> Tensor:
        with _precision(device, reduced=reduced):
            hidden_BTD = model(batch, None if masks is None else masks(batch))
            loss, _ = smoothed_cross_entropy(
                batch.counted(hidden_BTD),
                model.output.weight,
                batch.counted(batch.target_out_BT),
                smoothing=_SMOOTHING,
            )
        return loss / len(batch.counted_N)

    return _step(model, loss_of)


def _step(
    model: nn.Module, loss_of: Callable[[BatchLayout], Tensor]
) -> Callable[[BatchLayout], float | None]:
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)

    def step(batch: BatchLayout) -> None:
        loss_of(batch).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return step


def _bf16_loss(corpus: Corpus, settings: ModelSettings, batches: list[BatchLayout]) -> float:
    """The validation loss after some steps in bf16, over that after the same steps in fp32.

    The same weights, batches and dropout; measured in fp32.
    """
    device = str(batches[0].source_BS.device)
    losses = []
    for reduced in (False, True):
        model = _model(corpus, settings).to(device)
        torch.manual_seed(_SEED)
        step = _own_step(model, masks=None, reduced=reduced, device=device)
        for batch in batches[:-1]:
            step(batch)
        model.eval()
        last = batches[-1]
        with torch.no_grad():
            hidden_ND, target_N = last.counted(model(last)), last.counted(last.target_out_BT)
        losses.append(token_nll(hidden_ND, model.output.weight, target_N).mean().item())
    return losses[1] / losses[0]


def _precision(device: str, *, reduced: bool) -> AbstractContextManager[object]:
    return torch.autocast(device, dtype=torch.bfloat16) if reduced else nullcontext()


def _model(corpus: Corpus, settings: ModelSettings) -> Transformer:
    torch.manual_seed(_SEED)
    vocabulary = corpus.vocabulary
    return Transformer(settings, vocabulary_size=vocabulary.size, pad=vocabulary.pad).train()


def _random_masks(directions: list[Direction], model: Transformer) -> DirectionMasks:
    generator = torch.Generator().manual_seed(_SEED)
    chosen = {
        site.name: torch.rand(len(directions), site.width, generator=generator) < _KEPT
        for site in model.sites
    }
    atlas = NeuronAtlas.from_masks([str(d) for d in directions], model.sites, chosen)
    return DirectionMasks(atlas, directions, sites=model.sites)
