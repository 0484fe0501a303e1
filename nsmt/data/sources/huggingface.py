"""Any parallel data set that the `datasets` library reads: by its name on the hub, or a folder.

Two layouts are known: a column `translation` that holds both sides by language code, as in
opus-100, and two columns of text. The library keeps what it downloads as Arrow files, so that
reading holds one batch in memory. It runs no code of a data set (since its version 4). A hub name
needs a revision: without one, the same configuration would be another corpus on another day.
"""

from __future__ import annotations

import importlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from string import Formatter
from types import ModuleType
from typing import Any, ClassVar, Literal, NamedTuple, Self

import yaml
from pydantic import Field, model_validator

from nsmt.data.datasets_library import datasets_library, require_datasets
from nsmt.data.settings import CorpusName, CorpusSettings
from nsmt.data.sources.contents import content_hashes
from nsmt.data.split import SPLITS
from nsmt.errors import DataError
from nsmt.languages import Direction

_BATCH = 1000
_NEEDED_BY = "data.source=huggingface"
SplitName = Literal["train", "valid", "test"]


def _usual_splits() -> dict[SplitName, str]:
    return {"train": "train", "valid": "validation", "test": "test"}


class HuggingFaceSettings(CorpusSettings):
    """A parallel data set of the Hugging Face hub, or a local folder in one of its formats."""

    places: ClassVar = frozenset({"root"})

    source: Literal["huggingface"]
    name: CorpusName = "huggingface"
    dataset: str | None = Field(None, description="name on the hub, as in Helsinki-NLP/opus-100")
    revision: str | None = Field(None, description="commit or tag of the hub's data set")
    root: str | None = Field(
        None, description="instead: a folder of parquet or JSON files, or of save_to_disk"
    )
    subset: str | None = Field(
        "{src}-{tgt}", description="configuration of a pair, tried both ways round; null: none"
    )
    translation: str = Field("translation", description="column of both sides by language code")
    columns: tuple[str, str] | None = Field(
        None, description="instead: columns of {src} and {tgt}, as in [text_{src}, text_{tgt}]"
    )
    codes: dict[str, str] = Field(
        default_factory=dict, description="the data set's code by language, where it is another"
    )
    splits: dict[SplitName, str] = Field(
        default_factory=_usual_splits,
        description="the data set's name of each split; one that it lacks is not given",
    )

    licence: str | None = Field(
        None, description="to be recorded; null: as the card or the data say, or unknown"
    )

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if (self.dataset is None) == (self.root is None):
            raise ValueError("give either dataset, a name on the hub, or root, a folder")
        if self.dataset is not None and self.revision is None:
            raise ValueError(f"dataset {self.dataset} needs a revision: a commit or tag of the hub")
        for pattern in (self.subset or "", *(self.columns or ())):
            fields = {field for _, field, _, _ in Formatter().parse(pattern) if field is not None}
            if unknown := fields - {"src", "tgt"}:
                raise ValueError(f"'{pattern}': fields {sorted(unknown)} unknown; use src and tgt")
        if ".." in Path(self.subset or "").parts or Path(self.subset or "").is_absolute():
            raise ValueError(f"subset '{self.subset}' leaves the folder `root`")
        return self


class _Loaded(NamedTuple):
    """The splits of one pair, and the way round in which the data set names it."""

    splits: Mapping[str, Any]
    named: Direction


class HuggingFaceSource:
    """Reads pairs through the library `datasets`, which is imported when text is fetched.

    `evaluated` are the pairs whose valid or test come from an evaluation set: if they are not
    trained, the data set need not have them.
    """

    def __init__(
        self, settings: HuggingFaceSettings, *, evaluated: Collection[Direction] = frozenset()
    ) -> None:
        self._settings, self._evaluated = settings, evaluated
        self._codes = list(settings.language_table())
        self._root = Path(settings.root).expanduser() if settings.root is not None else None
        self._loaded: dict[Direction, _Loaded] = {}
        self._hashes: dict[Path, str] = {}
        self._licence = settings.licence
        require_datasets(_NEEDED_BY)
        if self._root is not None and not self._root.is_dir():
            raise DataError(f"data.root {self._root} is not a folder", fix="correct data.root")

    def licences(self) -> dict[str, str]:
        """The name of the data set and its licence, or that it is unknown; call `fetch` first."""
        title = self._settings.dataset or self._settings.name
        return dict.fromkeys(self._codes, f"{title}: {self._licence or 'unknown'}")

    def settle(self, cache: Path, *, progress: bool = True) -> None:
        """Hash the files of a folder; a data set of the hub has a revision."""
        self._hashes = content_hashes(self._files(), cache=cache, progress=progress)

    def identity(self) -> dict[str, Any]:
        """The name and revision, or the content of each file of the folder by its name there."""
        root = self._root
        if root is None:
            return {"dataset": self._settings.dataset, "revision": self._settings.revision}
        hashes = self._hashes or content_hashes(self._files())
        return {"files": {path.relative_to(root).as_posix(): hashes[path] for path in hashes}}

    def _files(self) -> list[Path]:
        """The files of the folder; what is hidden, such as notes of a download, is never read."""
        root = self._root
        if root is None:
            return []
        paths = [path for path in root.rglob("*") if path.is_file()]
        return [p for p in paths if not any(q.startswith(".") for q in p.relative_to(root).parts)]

    def splits(self, pair: Direction) -> tuple[str, ...]:
        """The splits that the data set has; call `fetch` first."""
        if not self._loaded:
            raise DataError("the data set is not loaded", fix="call fetch first")
        loaded = self._loaded.get(pair)
        return tuple(s for s in SPLITS if loaded is not None and s in loaded.splits)

    def fetch(self, cache: Path, *, progress: bool = True) -> None:
        """Load every pair, from the library's own cache if it is there."""
        library = datasets_library(_NEEDED_BY)
        with _bars(library, shown=progress):
            for pair in self._settings.parsed_pairs:
                self._loaded[pair] = self._load(library, pair, cache / "huggingface")
        self._licence = self._licence or self._card_licence() or self._stated_licence()

    def read(self, pair: Direction, split: str) -> Iterator[tuple[str, str]]:
        """Yield the text of both sides; what is null in the data set is empty here."""
        loaded = self._loaded[pair]
        rows = loaded.splits[split]
        if self._settings.columns is None:
            column = self._settings.translation
            source, target = self._codes_of(pair)
            for batch in rows.select_columns([column]).iter(batch_size=_BATCH):
                for row in batch[column]:
                    yield row[source] or "", row[target] or ""
        else:
            columns = self._columns_of(loaded.named)
            source, target = columns if loaded.named == pair else columns[::-1]
            for batch in rows.select_columns([source, target]).iter(batch_size=_BATCH):
                for first, second in zip(batch[source], batch[target], strict=True):
                    yield first or "", second or ""

    def _load(self, library: ModuleType, pair: Direction, cache: Path) -> _Loaded:
        """The pair as it is named or the other way round, whichever the data set has."""
        problems: list[str] = []
        trained = {pair, pair.reverse} & set(self._settings.parsed_directions)
        for named in (pair, pair.reverse):
            subset = self._subset_of(named)
            try:
                found = self._open(library, subset, cache)
            except (OSError, ValueError, RuntimeError, library.exceptions.DatasetsError) as error:
                problems.append(f"{subset or 'data'}: {' '.join(str(error).split())}")
                continue
            names = self._settings.splits.items()
            splits: dict[str, Any] = {
                ours: found[theirs] for ours, theirs in names if theirs in found
            }
            if problem := self._unfit(splits, named):
                problems.append(f"{subset or 'data'}: {problem}")
            elif trained and "train" not in splits:
                problems.append(f"{subset or 'data'}: no train among {', '.join(found)}")
            else:
                return _Loaded(splits, named)
        if pair in self._evaluated and not trained:
            return _Loaded({}, pair)
        raise DataError(
            f"'{pair}' cannot be read from {self._settings.dataset or self._root}: "
            f"{'; '.join(dict.fromkeys(problems))}",
            fix="correct data.dataset or data.root, data.subset, data.splits, data.columns or "
            "data.codes",
        )

    def _stated_licence(self) -> str | None:
        """What the data say of themselves, as `save_to_disk` writes it into dataset_info.json."""
        splits = [rows for loaded in self._loaded.values() for rows in loaded.splits.values()]
        return ", ".join(dict.fromkeys(filter(None, (rows.info.license for rows in splits))))

    def _card_licence(self) -> str | None:
        """What the front matter of README.md says; the library itself does not pass it on."""
        hub = importlib.import_module("huggingface_hub")
        try:
            card = hub.DatasetCard.load(
                self._root / "README.md"
                if self._root is not None
                else hub.hf_hub_download(
                    self._settings.dataset,
                    "README.md",
                    repo_type="dataset",
                    revision=self._settings.revision,
                ),
                ignore_metadata_errors=True,
            )
        except (OSError, ValueError, yaml.YAMLError):  # no card, no connection, not a card
            return None
        stated = card.data.license
        return ", ".join(map(str, stated)) if isinstance(stated, list) else stated and str(stated)

    def _open(self, library: ModuleType, subset: str | None, cache: Path) -> Mapping[str, Any]:
        folder = self._root
        if folder is not None and subset is not None and (folder / subset).is_dir():
            folder, subset = folder / subset, None
        if folder is not None and (folder / "dataset_dict.json").is_file():
            saved: Mapping[str, Any] = library.load_from_disk(str(folder))
            return saved
        if folder is not None and (folder / "state.json").is_file():
            return {self._settings.splits["train"]: library.load_from_disk(str(folder))}
        loaded: Mapping[str, Any] = library.load_dataset(
            str(folder or self._settings.dataset),
            subset,
            revision=self._settings.revision,
            cache_dir=str(cache),
        )
        return loaded

    def _unfit(self, splits: Mapping[str, Any], named: Direction) -> str | None:
        """What is wrong with the columns, if anything is."""
        for rows in splits.values():
            features = rows.features
            if self._settings.columns is not None:
                columns, types = self._columns_of(named), dict(features)
            else:
                column = self._settings.translation
                if column not in features:
                    return f"no column {column} among {', '.join(features)}"
                columns = self._codes_of(named)
                feature = features[column]
                # The library's type Translation lists its languages, and a struct its fields.
                types = dict.fromkeys(getattr(feature, "languages", ())) or dict(feature)
            if missing := [name for name in columns if name not in types]:
                return f"no {' or '.join(missing)} among {', '.join(types)}"
            for name in columns:
                if getattr(types[name], "dtype", "string") not in {"string", "large_string"}:
                    return f"{name} holds {types[name].dtype}, not text"
        return None

    def _subset_of(self, named: Direction) -> str | None:
        subset = self._settings.subset
        source, target = self._codes_of(named)
        return None if subset is None else subset.format(src=source, tgt=target)

    def _columns_of(self, named: Direction) -> tuple[str, str]:
        source, target = self._codes_of(named)
        first, second = self._settings.columns or ("", "")
        return first.format(src=source, tgt=target), second.format(src=source, tgt=target)

    def _codes_of(self, pair: Direction) -> tuple[str, str]:
        codes = self._settings.codes
        return codes.get(pair.source, pair.source), codes.get(pair.target, pair.target)


@contextmanager
def _bars(library: ModuleType, *, shown: bool) -> Iterator[None]:
    """The library's own progress bars, or none."""
    hidden = library.are_progress_bars_disabled()
    if not shown:
        library.disable_progress_bars()
    try:
        yield
    finally:
        if not hidden:
            library.enable_progress_bars()
