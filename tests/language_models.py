"""Tiny randomly initialised models of the real classes, one a family."""

import tokenizers
import torch
import transformers

from nsmt.neurons.atlas import NeuronAtlas
from nsmt.neurons.statistics import ActivationStatistics
from nsmt.steering.interventions import LanguageNeurons

SMALL = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_NAMES = {
    "llama": "Llama",
    "mistral": "Mistral",
    "gemma": "Gemma",
    "gemma2": "Gemma2",
    "gemma3_text": "Gemma3Text",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "smollm3": "SmolLM3",
    "cohere": "Cohere",
    "cohere2": "Cohere2",
    "phi3": "Phi3",
    "phi": "Phi",
    "bloom": "Bloom",
    "opt": "OPT",
    "gpt_neox": "GPTNeoX",
}


def config_of(family):
    options = dict(SMALL)
    if family == "opt":
        options |= {"ffn_dim": 24, "word_embed_proj_dim": 16}
    if family == "bloom":
        options |= {"n_layer": 3, "n_head": 2}
    return getattr(transformers, f"{_NAMES[family]}Config")(**options)


def model_of(family, seed=0):
    torch.manual_seed(seed)
    model = transformers.AutoModelForCausalLM.from_config(config_of(family)).eval()
    # Larger than as they begin, so that activations differ from zero and from each other.
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(0, 0.3)
    return model


def statistics_of(taps, languages=("de", "en", "fr"), seed=0):
    """Made-up statistics, with means of either sign."""
    generator = torch.Generator().manual_seed(seed)
    moments = ("sum", "square", "positive", "written")
    statistics = ActivationStatistics(languages, tuple(taps), moments=moments)
    for site in taps:
        shape = (len(languages), site.width)
        statistics.units[site.name] += 1000
        statistics.active[site.name] += torch.randint(0, 1000, shape, generator=generator)
        mean = torch.randn(shape, generator=generator, dtype=torch.float64)
        statistics.moments["sum"][site.name] += 1000 * mean
        statistics.moments["square"][site.name] += 1000 * (mean.square() + 0.25)
    return statistics


def neurons_of(taps, seed=0):
    """Language neurons that overlap, and are in every layer but the second."""
    statistics = statistics_of(taps, seed=seed)
    generator = torch.Generator().manual_seed(seed + 1)
    masks = {
        site.name: (torch.rand(3, site.width, generator=generator) < 0.4) & (site.layer != 1)
        for site in taps
    }
    return LanguageNeurons(NeuronAtlas.from_masks(statistics.tasks, tuple(taps), masks), statistics)


def byte_tokenizer():
    """Every byte a token: any text of any language."""
    alphabet = sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet())
    names = ["<pad>", "<s>", "</s>", *alphabet]
    bpe = tokenizers.models.BPE(vocab={name: row for row, name in enumerate(names)}, merges=[])
    made = tokenizers.Tokenizer(bpe)
    made.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = tokenizers.decoders.ByteLevel()
    special = {"pad_token": "<pad>", "bos_token": "<s>", "eos_token": "</s>"}
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, **special)


def saved_model(folder, family="llama"):
    """A tiny model of bytes with its tokenizer, as `from_pretrained` reads them."""
    torch.manual_seed(0)
    config = config_of(family)
    config.vocab_size, config.max_position_embeddings = 259, 512
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)
    return folder


def words_of(folder, *more):
    """Words of `nsmt languages` for the model that was saved in `folder`/model, without a bar."""
    return [
        "language_model=huggingface",
        "language_model.name=tiny",
        f"language_model.path={folder}/model",
        "language_model.dtype=float32",
        "selection.rate=0.1",
        "progress=false",
        *more,
    ]


def saved_texts(folder, words):
    """A text of a word for each language, in `folder`/LANGUAGE.txt."""
    for language, word in words.items():
        lines = [f"{number} {word} {word[::-1]} {number * number}\n" for number in range(200)]
        (folder / f"{language}.txt").write_text("".join(lines))


def words_of_files(folder, *more):
    """The same for text in `folder`/LANGUAGE.txt."""
    return words_of(folder, "text=files", f"text.path={folder}/LANGUAGE.txt", *more)
