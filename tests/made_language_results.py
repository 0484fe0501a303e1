"""Neurons of four languages and results of steps, made up for tests of numbers and tables."""

import torch
from language_models import statistics_of

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.sites import Site
from nsmt.steering.interventions import LanguageNeurons

CODES = ("en", "de", "hi", "ur")
SITES = (Site("decoder", 0, 4), Site("decoder", 1, 4))


def made_neurons():
    """Two layers of four neurons, four neurons a language."""
    first = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 1], [0, 0, 1, 0]]).bool()
    atlas = NeuronAtlas.from_masks(CODES, SITES, {"decoder.0": first, "decoder.1": ~first})
    return LanguageNeurons(atlas, statistics_of(SITES, CODES))


def made_results():
    """Of `perplexity`, `fertility` and `forcing`; every answer is Hindi."""
    likelihood = {
        off: {
            on: {"nll": 10.0 + 2 * (off == on) + (off != "") * place, "tokens": 2}
            for place, on in enumerate(CODES)
        }
        for off in ("", *CODES)
    }
    answers = [
        {"asked": asked, "wanted": wanted, "came": "hi"} for asked in CODES for wanted in CODES
    ]
    return {
        "perplexity": likelihood,
        "fertility": {
            code: {"characters": 100, "tokens": 25 * k} for k, code in enumerate(CODES, 1)
        },
        "forcing": {"forced": answers},
    }
