"""A training step beside those of other toolkits: same shape, same real text, in turns.

Masks are of random neurons. On a GPU everybody trains under bf16 autocast, and takes all batches
twice: once as they come first, then with every shape seen.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice

import torch
from torch import Tensor, nn

from nsmt.benchmarks.peers import joeynmt, m2m100, present
from nsmt.benchmarks.precision import bf16_loss
from nsmt.benchmarks.steps import (
    SEED,
    SMOOTHING,
    masks_mib,
    new_model,
    own_step,
    precision_of,
    random_masks,
    step_of,
)
from nsmt.benchmarks.timing import (
    Figures,
    MatrixProduct,
    copy_bytes,
    in_turns,
    memory_copy,
    ratio,
)
from nsmt.benchmarks.whole import whole_training
from nsmt.data.batch import BatchLayout
from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TranslationData
from nsmt.data.plan import BatchSettings
from nsmt.models.flops import TokenCounts, training_flops
from nsmt.models.settings import ModelSettings
from nsmt.training.settings import TrainerSettings
from nsmt.training.throughput import compilations, held_memory_mib
from nsmt.training.trainer import device_of

# Steps after which memory is expected to stay as it is.
_SETTLED = 100
_OWN = ("dense", "masked", "bf16")
# AdamW reads weight, gradient and two moments, writes weight and moments, and clears the gradient.
_ADAM_BYTES = 8 * 4


# A model and its mean loss over the target tokens of a batch.
_Peer = tuple[nn.Module, Callable[[BatchLayout], Tensor]]


class _Batches:
    """Real batches: one that warms up, then those that count, as often as there are rounds.

    `fresh` are as many that come after them.
    """

    def __init__(
        self, corpus: Corpus, batch: BatchSettings, *, count: int, rounds: int, device: str
    ) -> None:
        data = TranslationData(corpus, batch=batch, temperature=1.0, seed=SEED)
        loader = iter(data.train_dataloader())
        first, *others = (each.to(device) for each in islice(loader, count + 1))
        self.fresh = [each.to(device) for each in islice(loader, count)]
        self.order = [first, *others * rounds]
        self.tokens = [TokenCounts.of(each) for each in others] * rounds

    def feed(self, step: Callable[[BatchLayout], object]) -> Callable[[], object]:
        """A contestant that takes the next batch each time."""
        turn = iter(self.order)
        return lambda: step(next(turn))


@dataclass(frozen=True, slots=True)
class _Contestant:
    step: Callable[[BatchLayout], object]
    batches: _Batches
    reduced: bool = False


def bench_train(
    corpus: Corpus,
    model: ModelSettings,
    batch: BatchSettings,
    trainer: TrainerSettings,
    *,
    repetitions: int,
) -> Iterator[Figures]:
    """Tokens a second, operations a second and ratios of dense, masked and bf16 steps and peers.

    Dense and masked steps are compiled, and take `batch.layout`, as configured; peers pad. Beside
    bare steps, a run as Lightning trains it. Figures come as they are found: what fails later takes
    none of them away.
    """
    device = device_of(trainer.accelerator)
    contestants = _contestants(corpus, model, batch, trainer, repetitions=repetitions)
    feeds = {name: each.batches.feed(each.step) for name, each in contestants.items()}
    products = {
        "product_fp32": MatrixProduct(device, torch.float32),
        "product_bf16": MatrixProduct(device, torch.bfloat16),
    }
    feeds |= products | {"copy": memory_copy(device)}
    in_turns(feeds, 0, device=device)
    # From here on, nothing may be compiled.
    compiled = compilations()
    seconds = in_turns(feeds, _rounds(device) * repetitions, device=device, warm_up=0)
    machine = {f"{name}_gflops": statistics.median(it.rates) / 1e9 for name, it in products.items()}
    machine["copy_gbytes_per_second"] = (
        copy_bytes(device) / statistics.median(seconds["copy"]) / 1e9
    )
    yield machine
    speeds = _speeds(contestants, seconds, corpus, model, repetitions=repetitions, of=machine)
    yield speeds
    if trainer.compile and not compiled:
        raise RuntimeError("trainer.compile=true, and nothing was compiled")
    if trainer.compile:
        yield _steady(contestants, compiled, device=device)
    # Their weights and optimisers make room for others.
    feeds.clear()
    contestants.clear()
    whole = whole_training(corpus, model, batch, trainer, updates=repetitions)
    yield {
        "run_target_tokens_per_second": whole,
        "run_over_masked_seconds": speeds["masked_target_tokens_per_second"] / whole,
    }
    half = _seconds_per_token_over_half(corpus, model, batch, trainer, repetitions=repetitions)
    yield {f"masks_of_{count}_directions_mib": masks_mib(count, model) for count in (60, 3000)}
    yield {"seconds_per_token_over_half_as_large_batches": half}
    yield {"bf16_loss_over_fp32": bf16_loss(corpus, model, device=device)}


def _speeds(
    contestants: dict[str, _Contestant],
    seconds: dict[str, list[float]],
    corpus: Corpus,
    model: ModelSettings,
    *,
    repetitions: int,
    of: Figures,
) -> Figures:
    """Everybody, beside what the machine can do at its best."""
    found: Figures = {}
    speeds = {}
    for name, each in contestants.items():
        took, counted = seconds[name][-repetitions:], each.batches.tokens[-repetitions:]
        first = seconds[name][:repetitions]
        if len(seconds[name]) > repetitions:
            tokens = sum(counts.target for counts in counted)
            found[f"{name}_first_target_tokens_per_second"] = tokens / sum(first)
        speeds[name] = [counts.target / s for counts, s in zip(counted, took, strict=True)]
        found |= _against_machine(name, each, took, counted, corpus=corpus, model=model, of=of)
    return found | _ratios(speeds)


def _rounds(device: str) -> int:
    return 2 if device == "cuda" else 1


def _against_machine(
    name: str,
    contestant: _Contestant,
    seconds: Sequence[float],
    tokens: Sequence[TokenCounts],
    *,
    corpus: Corpus,
    model: ModelSettings,
    of: Figures,
) -> Figures:
    """Speed, share of the bare product's, and the time over that of the roofline.

    The least that a step takes: its products at the rate of a bare one, its optimiser at the rate
    of a copy.
    """
    size = corpus.vocabulary.size
    flops = [training_flops(model, vocabulary=size, tokens=each) for each in tokens]
    rates = [operations / took / 1e9 for operations, took in zip(flops, seconds, strict=True)]
    product = of["product_bf16_gflops" if contestant.reduced else "product_fp32_gflops"]
    parameters = sum(each.numel() for each in new_model(corpus, model, device="meta").parameters())
    optimiser = parameters * _ADAM_BYTES / (of["copy_gbytes_per_second"] * 1e9)
    least = [operations / (product * 1e9) + optimiser for operations in flops]
    speeds = [each.target / took for each, took in zip(tokens, seconds, strict=True)]
    return {
        f"{name}_target_tokens_per_second": statistics.median(speeds),
        f"{name}_gflops": statistics.median(rates),
        f"{name}_share_of_product": statistics.median(rates) / product,
        f"{name}_over_roofline_seconds": ratio(seconds, least),
    }


def _ratios(speeds: dict[str, list[float]]) -> Figures:
    """Times over our own, for as many target tokens."""
    own = [name for name in _OWN if name in speeds]
    found = {f"{name}_over_dense_seconds": ratio(speeds["dense"], speeds[name]) for name in own[1:]}
    for peer in speeds.keys() - set(own):
        for name in own:
            found[f"{peer}_over_{name}_seconds"] = ratio(speeds[name], speeds[peer])
    return found


def _contestants(
    corpus: Corpus,
    settings: ModelSettings,
    batch: BatchSettings,
    trainer: TrainerSettings,
    *,
    repetitions: int,
) -> dict[str, _Contestant]:
    """Each has weights and an optimiser of its own."""
    device = device_of(trainer.accelerator)
    reduced = device == "cuda"
    rounds = _rounds(device)
    ours = _Batches(corpus, batch, count=repetitions, rounds=rounds, device=device)
    padded = batch.model_copy(update={"layout": "padded"})
    theirs = ours
    if padded != batch:
        theirs = _Batches(corpus, padded, count=repetitions, rounds=rounds, device=device)

    def own(*, masked: bool = False, reduced: bool = reduced) -> _Contestant:
        model = new_model(corpus, settings, device=device)
        masks = random_masks(corpus.directions, model).to(device) if masked else None
        if trainer.compile:
            model.compile_layers()
        step = own_step(
            model,
            masks=masks,
            reduced=reduced,
            device=device,
            kind=trainer.loss,
            compiled=trainer.compile,
        )
        return _Contestant(step, ours, reduced=reduced)

    found = {"dense": own(), "masked": own(masked=True)}
    if not reduced:
        found["bf16"] = own(reduced=True)
    precision = precision_of(device, reduced=reduced)
    for name, make in _peers(corpus, settings, device=device).items():
        if (peer := present(make)) is not None:
            module, loss_of = peer
            step = step_of(module, loss_of, precision=precision)
            found[name] = _Contestant(step, theirs, reduced=reduced)
    return found


def _peers(
    corpus: Corpus, settings: ModelSettings, *, device: str
) -> dict[str, Callable[[], _Peer]]:
    """Other toolkits' models in training, and their losses of a batch."""
    vocabulary = corpus.vocabulary

    def hugging_face() -> _Peer:
        own = new_model(corpus, settings, device=device)
        peer = m2m100.m2m100_of(own, eos=vocabulary.eos).train()
        return peer, partial(m2m100.smoothed_loss, peer, smoothing=SMOOTHING)

    def joey() -> _Peer:
        peer = joeynmt.joeynmt_like(
            settings,
            vocabulary=vocabulary.size,
            pad=vocabulary.pad,
            eos=vocabulary.eos,
            smoothing=SMOOTHING,
        )
        return peer.to(device).train(), partial(joeynmt.smoothed_loss, peer)

    return {"m2m100": hugging_face, "joeynmt": joey}


def _seconds_per_token_over_half(
    corpus: Corpus,
    model: ModelSettings,
    batch: BatchSettings,
    trainer: TrainerSettings,
    *,
    repetitions: int,
) -> float:
    """The time of a target token, over its time in batches of half as many: 1 or less is linear.

    Less, as the optimiser costs both the same.
    """
    device = device_of(trainer.accelerator)
    network = new_model(corpus, model, device=device)
    if trainer.compile:
        torch.compiler.reset()
        network.compile_layers()
    step = own_step(
        network,
        masks=None,
        reduced=device == "cuda",
        device=device,
        kind=trainer.loss,
        compiled=trainer.compile,
    )
    sizes = {
        name: _Batches(
            corpus,
            batch.model_copy(update={"tokens": tokens}),
            count=repetitions,
            rounds=1,
            device=device,
        )
        for name, tokens in (("whole", batch.tokens), ("half", batch.tokens // 2))
    }
    feeds = {name: each.feed(step) for name, each in sizes.items()}
    seconds = in_turns(feeds, repetitions, device=device)
    whole, half = (
        [took / tokens.target for took, tokens in zip(seconds[name], each.tokens, strict=True)]
        for name, each in sizes.items()
    )
    return ratio(whole, half)


def _steady(contestants: dict[str, _Contestant], compiled: int, *, device: str) -> Figures:
    """What our own take of memory for batches that are new, and what is compiled after a warm-up.

    `compiled` programs there were after the warm-up.
    """
    found: Figures = {}
    for name in _OWN:
        if (contestant := contestants.get(name)) is None:
            continue
        if device == "cuda":
            # What others took would hide what this one takes.
            torch.cuda.empty_cache()
        for batch in contestant.batches.order[:_SETTLED]:
            contestant.step(batch)
        taken = held_memory_mib(device)
        for batch in contestant.batches.fresh:
            contestant.step(batch)
        found[f"{name}_memory_grows_mib"] = held_memory_mib(device) - taken
    return found | {"recompilations": float(compilations() - compiled)}
