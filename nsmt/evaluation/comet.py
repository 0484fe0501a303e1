"""COMET (Rei et al. 2022) of translations, by the program `comet-score` of another environment.

COMET pins old releases of numpy and protobuf, so it is never imported here: it runs as a process
of an environment that the user made for it. Scores are kept by content, one file a direction and
system, and sentences that were scored once by the same model are not scored again. Scores are as
COMET gives them, mostly between 0 and 1, as in the paper's Table 2.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Final, Literal, Self

import numpy as np
from pydantic import Field

from nsmt.errors import ConfigurationError, DataError
from nsmt.evaluation.results import FurtherMetric, TestOutput
from nsmt.evaluation.significance import COMET_KEY, SentenceStatistics
from nsmt.files import replace_text, sha256
from nsmt.languages import Direction
from nsmt.settings import Count, Settings

_LOG = logging.getLogger(__name__)
DEFAULT_MODEL: Final = "Unbabel/wmt22-comet-da"
_SCHEMA_VERSION: Final = 1
_PROGRAM: Final = "comet-score"
_HOW_TO_MAKE_ONE: Final = (
    "make one: python -m venv comet && comet/bin/pip install unbabel-comet; then give "
    "eval.environment=comet"
)
# What comet-score 2.2 and the clients of the Hugging Face Hub say where weights cannot be had; a
# model that could not be fetched is "not supported" there.
_NO_WEIGHTS: Final = re.compile(
    "not supported by COMET|LocalEntryNotFound|RepositoryNotFound|GatedRepo|OfflineMode|"
    "ConnectionError|ConnectError|Max retries exceeded|Name or service not known|"
    "Temporary failure in name resolution|couldn't connect to|Invalid checkpoint path"
)
# Of an environment that is not COMET's.
_OUR_PYTHON: Final = ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV")


class CometSettings(Settings):
    """`eval=comet`: which program and model score the translations of a run."""

    kind: Literal["comet"]
    environment: str | None = Field(
        None, description="the folder of a Python environment with unbabel-comet"
    )
    model: Annotated[str, Field(min_length=1)] = Field(
        DEFAULT_MODEL, description="a name of the Hugging Face Hub, or a checkpoint's file (.ckpt)"
    )
    gpus: Annotated[int, Field(ge=0)] = Field(0, description="how many; 0: the CPU")
    batch_size: Count = 16


@dataclass(frozen=True, slots=True)
class Segments:
    """Sentences to score: one source, hypothesis and reference each."""

    sources: tuple[str, ...]
    hypotheses: tuple[str, ...]
    references: tuple[str, ...]

    def __post_init__(self) -> None:
        if not len(self.sources) == len(self.hypotheses) == len(self.references):
            raise DataError(
                f"{len(self.sources)} sources, {len(self.hypotheses)} hypotheses and "
                f"{len(self.references)} references are not parallel",
                fix="score translations of whole test sets",
            )

    def __len__(self) -> int:
        return len(self.sources)

    @classmethod
    def of(cls, sources: Sequence[str], output: TestOutput) -> Self:
        """A system's output for one test set."""
        return cls(tuple(sources), tuple(output.hypotheses), tuple(output.references))


@dataclass(frozen=True, slots=True)
class CometProgram:
    """A `comet-score` that is there, and the model it is to use.

    `identity` names the model: by its content where it is a file.
    """

    path: Path
    version: str
    model: str
    identity: str
    gpus: int
    batch_size: int

    @classmethod
    def find(cls, settings: CometSettings) -> Self:
        """The program of the environment; ConfigurationError if there is none, or no such model."""
        if settings.environment is None:
            raise ConfigurationError("eval.environment is not given", fix=_HOW_TO_MAKE_ONE)
        folder = Path(settings.environment)
        path = (folder / "bin" / _PROGRAM).absolute()
        if not os.access(path, os.X_OK):
            raise ConfigurationError(
                f"eval.environment={folder} has no program bin/{_PROGRAM}", fix=_HOW_TO_MAKE_ONE
            )
        return cls(
            path=path,
            version=_version(folder),
            model=_absolute_model(settings.model),
            identity=_identity(settings.model),
            gpus=settings.gpus,
            batch_size=settings.batch_size,
        )

    @property
    def signature(self) -> str:
        """What makes scores comparable, in the manner of a sacreBLEU signature."""
        return f"model:{self.identity}|nrefs:1|version:unbabel-comet {self.version}"

    def __call__(self, segments: Segments) -> list[float]:
        """Score sentences, in one process.

        Raises ConfigurationError if the model's weights are not there, and DataError if the
        program fails or gives other than one score a sentence.
        """
        with TemporaryDirectory(prefix="nsmt-comet-") as place:
            folder = Path(place)
            names = {"-s": "src.txt", "-t": "hyp.txt", "-r": "ref.txt"}
            texts = (segments.sources, segments.hypotheses, segments.references)
            for name, lines in zip(names.values(), texts, strict=True):
                text = "".join(f"{_one_line(line)}\n" for line in lines)
                (folder / name).write_text(text, encoding="utf-8")
            files = [word for pair in names.items() for word in pair]
            self._run([*files, "--to_json", "scores.json"], folder=folder)
            return _read_scores(folder / "scores.json", segments)

    def _run(self, words: Sequence[str], *, folder: Path) -> None:
        options = ["--model", self.model, "--gpus", str(self.gpus)]
        options += ["--batch_size", str(self.batch_size), "--quiet"]
        ours = {key: value for key, value in os.environ.items() if key not in _OUR_PYTHON}
        try:
            # The user's own program, without a shell.
            done = subprocess.run(  # noqa: S603
                [str(self.path), *words, *options],
                cwd=folder,
                env=ours | {"PYTHONUTF8": "1"},
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                stdin=subprocess.DEVNULL,
            )
        except OSError as error:
            raise ConfigurationError(
                f"{self.path} cannot be started: {error.strerror}", fix=_HOW_TO_MAKE_ONE
            ) from None
        if done.returncode != 0:
            self._complain(done)

    def _complain(self, done: subprocess.CompletedProcess[str]) -> None:
        told = [line.strip() for line in f"{done.stdout}\n{done.stderr}".splitlines()]
        told = [line for line in told if line]
        missing = [line for line in told if _NO_WEIGHTS.search(line)]
        if missing:
            raise ConfigurationError(
                f"COMET has no weights of {self.model} and cannot fetch them: {missing[-1]}",
                fix="see whether the name is right; fetch them once where there is a network, with "
                "the same program and model, and bring the folder ~/.cache/huggingface here; or "
                "give a checkpoint's file: eval.model=FOLDER/checkpoints/model.ckpt",
            )
        ended = f"exit status {done.returncode}"
        raise DataError(
            f"{_PROGRAM} failed ({ended}): {told[-1] if told else 'it said nothing'}",
            fix=f"see what it says by itself: {self.path} --help; eval.gpus=0 is the CPU, a "
            "smaller eval.batch_size needs less memory",
        )


def cache_key(program: CometProgram, segments: Segments) -> str:
    """The name of scores: a hash of the model, COMET's version and every sentence."""
    text = [segments.sources, segments.hypotheses, segments.references]
    made_by = {"model": program.identity, "version": program.version, "text": text}
    return hashlib.sha256(json.dumps(made_by).encode()).hexdigest()


def scores_of(
    outputs: Mapping[Direction, Segments], program: CometProgram, *, cache: Path
) -> dict[Direction, list[float]]:
    """Segment scores by direction, from the cache where they are there.

    All that is missing is scored in one process, because loading the model takes longer than
    scoring a test set.
    """
    keys = {direction: cache_key(program, segments) for direction, segments in outputs.items()}
    found = {d: _cached(cache / f"{key}.json", len(outputs[d])) for d, key in keys.items()}
    known = {direction: scores for direction, scores in found.items() if scores is not None}
    missing = {d: segments for d, segments in outputs.items() if d not in known}
    if missing:
        scores = iter(program(_joined(list(missing.values()))))
        for direction, segments in missing.items():
            known[direction] = [next(scores) for _ in range(len(segments))]
            entry = {
                "schema_version": _SCHEMA_VERSION,
                "signature": program.signature,
                "scores": known[direction],
            }
            replace_text(cache / f"{keys[direction]}.json", json.dumps(entry) + "\n")
    return {direction: known[direction] for direction in outputs}


def with_comet(
    outputs: Mapping[Direction, TestOutput],
    sources: Mapping[Direction, Sequence[str]],
    program: CometProgram,
    *,
    cache: Path,
) -> dict[Direction, TestOutput]:
    """The outputs of a system with COMET as a metric to compare."""
    segments = {d: Segments.of(sources[d], output) for d, output in outputs.items()}
    scores = scores_of(segments, program, cache=cache)
    return {
        direction: replace(
            output,
            further={
                **output.further,
                COMET_KEY: FurtherMetric(comet_statistics(scores[direction]), program.signature),
            },
        )
        for direction, output in outputs.items()
    }


def comet_statistics(scores: Sequence[float]) -> SentenceStatistics:
    """Statistics of COMET, whose corpus score is the mean of its segment scores."""
    values_N = np.asarray(scores, float)
    return SentenceStatistics(COMET_KEY, np.stack([values_N, np.ones_like(values_N)], axis=1))


def _joined(parts: Sequence[Segments]) -> Segments:
    return Segments(
        tuple(line for part in parts for line in part.sources),
        tuple(line for part in parts for line in part.hypotheses),
        tuple(line for part in parts for line in part.references),
    )


def _one_line(text: str) -> str:
    """COMET reads files with universal newlines, for which a carriage return ends a line too."""
    return text.replace("\r", " ").replace("\n", " ")


def _read_scores(path: Path, segments: Segments) -> list[float]:
    again = "see whether the environment holds unbabel-comet 2.2 or later, whose format is read"
    try:
        (rows,) = json.loads(path.read_text(encoding="utf-8")).values()
        scores = [float(row["COMET"]) for row in rows]
        texts = [str(row["mt"]) for row in rows]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        problem = f"{_PROGRAM} wrote no scores that can be read: {type(error).__name__}: {error}"
        raise DataError(problem, fix=again) from None
    if len(scores) != len(segments):
        raise DataError(
            f"{_PROGRAM} gave {len(scores)} scores for {len(segments)} sentences", fix=again
        )
    if texts != [_one_line(line).strip() for line in segments.hypotheses]:
        raise DataError(f"{_PROGRAM} scored other sentences than it was given", fix=again)
    if not all(map(math.isfinite, scores)):
        raise DataError(f"{_PROGRAM} gave scores that are no numbers", fix="try eval.gpus=0")
    return scores


def _cached(path: Path, number: int) -> list[float] | None:
    """Scores that were kept; None, with a warning if the file is damaged, where there are none."""
    try:
        entry: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        scores = [float(score) for score in entry["scores"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        _LOG.warning("%s is scored again: %s: %s", path, type(error).__name__, error)
        return None
    if len(scores) != number:
        _LOG.warning("%s is scored again: it has %d scores, not %d", path, len(scores), number)
        return None
    return scores


def _version(environment: Path) -> str:
    """The release of unbabel-comet in an environment, by the name of its metadata."""
    found = sorted(environment.glob("lib*/python*/site-packages/unbabel_comet-*.dist-info"))
    if not found:
        return "unknown"
    return found[-1].name.removeprefix("unbabel_comet-").removesuffix(".dist-info")


def _absolute_model(model: str) -> str:
    return str(Path(model).absolute()) if model.endswith(".ckpt") else model


def _identity(model: str) -> str:
    if not model.endswith(".ckpt"):
        return model
    path = Path(model)
    if not path.is_file():
        raise ConfigurationError(
            f"eval.model={model} does not exist",
            fix=f"give the file of a checkpoint, or a name as {DEFAULT_MODEL}",
        )
    return f"{path.name}:sha256:{sha256(path)[:16]}"
