"""What it costs to watch and to steer a language model, and how much is kept of it.

    python benchmarks/languages.py [--repetitions N] [--output FILE] [OVERRIDE ...]

In turns, on contexts and prompts of English: the body of the model alone, with counts, with sums
too (the default), with all moments; greedy generation as it is, and with one language's neurons
added to. The model is that of `nsmt languages experiment=smollm2`, which overrides may change.
Sizes are of what is kept of a Llama of eight billion parameters, made on the meta device, with 21
languages.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path

import torch
import transformers

from nsmt.benchmarks.timing import Figures, in_turns, ratio
from nsmt.commands.compose import composed
from nsmt.commands.languages import LanguagesConfig
from nsmt.data.monolingual import contexts, paragraphs, part_of
from nsmt.files import replace_text
from nsmt.neurons.moments import Moment
from nsmt.neurons.random_sets import bernoulli
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.records import certificate, command_line
from nsmt.steering.families import language_model_taps
from nsmt.steering.gathering import Contexts, gather
from nsmt.steering.interventions import Intervention, LanguageNeurons
from nsmt.steering.loading import LanguageModel, load_language_model
from nsmt.steering.steered import steered

LANGUAGES = 21
DEFAULT: tuple[Moment, ...] = ("sum",)
ALL: tuple[Moment, ...] = ("sum", "square", "positive", "written")
MIB = 1 << 20


def main() -> None:
    """Measure, print and keep."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--output", type=Path)
    parser.add_argument("overrides", nargs="*")
    asked = parser.parse_args()
    words = ["experiment=smollm2", *asked.overrides]
    config = composed("languages", words, LanguagesConfig)
    cache = Path(config.paths.downloads)
    model = load_language_model(config.language_model, cache=cache)
    texts = part_of(paragraphs(config.text, "en", cache=cache), "train")
    ids = list(contexts(texts, model.tokenizer, length=256, limit=1024))
    figures = watching(model, ids, repetitions=asked.repetitions)
    figures |= steering(model, ids, repetitions=asked.repetitions)
    figures |= sizes()
    for name, value in figures.items():
        print(f"{name.replace('_', ' '):50} {value:,.4g}")
    if asked.output is not None:
        record = certificate(
            command=command_line(), config=config.model_dump(mode="json"), seed=0, fingerprint=None
        )
        record["figures"] = {name: float(f"{value:.5g}") for name, value in figures.items()}
        replace_text(asked.output, json.dumps(record, indent=1) + "\n")


def watching(model: LanguageModel, ids: Sequence[list[int]], *, repetitions: int) -> Figures:
    """A pass with statistics over a pass without."""
    ids_BS = torch.tensor(ids)
    batch = Contexts(ids_BS, torch.ones_like(ids_BS, dtype=torch.bool))

    def watched(moments: Sequence[Moment]) -> None:
        statistics = ActivationStatistics(("en",), tuple(model.taps), moments=moments)
        gather(model.body, model.taps, [("en", batch)], statistics)

    def bare() -> None:
        with torch.inference_mode():
            model.body(input_ids=ids_BS, use_cache=False)

    took = in_turns(
        {
            "bare": bare,
            "counts": partial(watched, ()),
            "default": partial(watched, DEFAULT),
            "moments": partial(watched, ALL),
        },
        repetitions,
        device="cpu",
    )
    return {
        "counts_over_forward_seconds": ratio(took["counts"], took["bare"]),
        "default_over_forward_seconds": ratio(took["default"], took["bare"]),
        "moments_over_forward_seconds": ratio(took["moments"], took["bare"]),
        "forward_tokens_per_second": ids_BS.numel() / min(took["bare"]),
    }


def steering(model: LanguageModel, ids: Sequence[list[int]], *, repetitions: int) -> Figures:
    """Generation under intervention over generation as it is: one prompt, and eight."""
    statistics = ActivationStatistics(("de", "en"), tuple(model.taps), moments=("sum",))
    atlas = bernoulli(statistics.tasks, statistics.sites, rate=0.01, seed=0)
    neurons = LanguageNeurons(atlas, statistics)
    program = (Intervention(operation="add", languages=("de",)),)
    figures: Figures = {}
    for rows in (1, 8):
        prompts = torch.tensor([ids[row % len(ids)][row : row + 32] for row in range(rows)])

        def run(
            change: Callable[[], AbstractContextManager[None]], prompts: torch.Tensor = prompts
        ) -> None:
            with torch.inference_mode(), change():
                model.model.generate(
                    prompts, do_sample=False, max_new_tokens=32, min_new_tokens=32, pad_token_id=0
                )

        changed = partial(steered, model.model, model.taps, [program], neurons)
        # Rows of two programmes, as of two languages in a batch.
        mixed = [program if row % 2 else () for row in range(rows)]
        by_row = partial(steered, model.model, model.taps, mixed, neurons)
        took = in_turns(
            {
                "plain": partial(run, nullcontext),
                "steered": partial(run, changed),
                "by_row": partial(run, by_row),
            },
            repetitions,
            device="cpu",
        )
        figures[f"steered_over_plain_seconds_{rows}_rows"] = ratio(took["steered"], took["plain"])
        if rows > 1:
            figures[f"by_row_over_plain_seconds_{rows}_rows"] = ratio(took["by_row"], took["plain"])
    return figures


def sizes() -> Figures:
    """MiB of statistics and atlas of a Llama of eight billion parameters."""
    config = transformers.LlamaConfig(
        hidden_size=4096,
        intermediate_size=14336,
        num_hidden_layers=32,
        num_attention_heads=32,
        num_key_value_heads=8,
        vocab_size=128256,
    )
    with torch.device("meta"):
        model = transformers.AutoModelForCausalLM.from_config(config)
    sites = tuple(language_model_taps(model))
    names = [f"language{number}" for number in range(LANGUAGES)]
    found: Figures = {}
    several: dict[str, tuple[Moment, ...]] = {
        "counts": (),
        "default": DEFAULT,
        "with_squares": (*DEFAULT, "square"),
        "all": ALL,
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "statistics.safetensors"
        for name, moments in several.items():
            ActivationStatistics(names, sites, moments=moments).save(path)
            found[f"statistics_mib_{name}"] = ActivationStatistics.load(path).nbytes / MIB
    bits = sum((site.width + 7) // 8 for site in sites) * LANGUAGES
    return found | {"atlas_mib": bits / MIB}


if __name__ == "__main__":
    main()
