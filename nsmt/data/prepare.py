"""From sources to a prepared corpus: fetch, clean, split, learn the vocabulary, encode.

The folder is named by what decides its bytes (settings, inputs, libraries, schema), so preparing
twice is a no-op, and equal settings and inputs give equal bytes, however many workers there are.
Work in progress lies in a hidden neighbour, block by block; an interrupted preparation goes on.
The corpus itself is written beside it and renamed at the very end: a folder that is there is whole.
Processes take turns by a lock on the folder of corpora; the second finds what the first made.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from nsmt.data.blocks import CleanedPair, clean_pairs, cleaned_pair
from nsmt.data.cleaning import Cleaner
from nsmt.data.corpus import MANIFEST, REPORT, SCHEMA, VERSION, Corpus, token_type
from nsmt.data.encode import encode_pairs, given_vocabulary, make_vocabulary, write_tables
from nsmt.data.given import given_corpus
from nsmt.data.identification import identifier_codes
from nsmt.data.kept import drop_repeated, separate
from nsmt.data.sources import DataSettings, ParallelSource, make_source
from nsmt.data.tally import Tally, report_table
from nsmt.data.vocabulary import VOCABULARY, Vocabulary
from nsmt.data.workers import Workers
from nsmt.errors import DataError
from nsmt.files import DISK_FULL, replace_file, replace_folder, sha256
from nsmt.languages import Direction
from nsmt.progress import console, each, step
from nsmt.turns import taking_turns


class NoSpaceError(DataError):
    """A device is full: what was finished is of use once there is room."""


def prepare(
    settings: DataSettings,
    *,
    corpora: Path,
    downloads: Path,
    progress: bool = True,
    table: bool = True,
) -> Corpus:
    """Prepare the corpus that the settings describe, or open it if that was done before.

    Args:
        settings: the corpus, its cleaning, splits and vocabulary.
        corpora: folder in which prepared corpora lie, one folder each.
        downloads: folder in which downloaded inputs are kept.
        progress: show bars, and the licences of what is prepared, on standard error.
        table: show there what was read, kept and dropped, too.

    Raises:
        DataError: inputs that are missing or broken, or nothing left to train on.
    """
    if (given := given_corpus(settings)) is not None:
        return given
    source = make_source(settings)
    check_cleaning(settings)
    with _room_on(downloads, key="paths.downloads"):
        source.settle(downloads, progress=progress)
    folder = corpora / folder_name(settings, source)
    if not folder.exists():
        corpora.mkdir(parents=True, exist_ok=True)
        with taking_turns(corpora / ".lock"):
            if not folder.exists():
                with _room_on(downloads, key="paths.downloads"):
                    source.fetch(downloads, progress=progress)
                with _keeping_what_helps(folder), _room_on(corpora, key="paths.corpora"):
                    _prepare_into(folder, source, settings, progress=progress)
                if progress:
                    _tell(Corpus.open(folder), table=table)
    # Left by a process that ended just after it had put the corpus in place.
    shutil.rmtree(_work(folder), ignore_errors=True)
    return Corpus.open(folder)


def check_cleaning(settings: DataSettings) -> None:
    """Raise what a cleaning step says of the languages, before any text is fetched."""
    languages, cleaning = settings.language_table(), settings.cleaning
    if "language" in cleaning.steps:
        identifier_codes(languages.values(), unidentified=cleaning.unidentified_languages)
    for pair in settings.parsed_pairs:
        Cleaner(cleaning, languages[pair.source], languages[pair.target])


def _tell(corpus: Corpus, *, table: bool) -> None:
    for code, licence in corpus.licences.items():
        console.print(f"{code}: {licence}", highlight=False, markup=False)
    if table:
        console.print(report_table(corpus.report))


def folder_name(settings: DataSettings, source: ParallelSource) -> str:
    """The corpus folder's name: the configured one and a hash of all that decides its bytes."""
    identity = {
        "version": VERSION,
        "settings": settings.identity(),
        "inputs": source.identity(),
        "libraries": _libraries(settings),
    }
    if (given := given_vocabulary(settings)) is not None:
        identity["vocabulary"] = given.fingerprint
    encoded = json.dumps(identity, sort_keys=True, ensure_ascii=False).encode()
    return f"{settings.name}-{hashlib.sha256(encoded).hexdigest()[:12]}"


def _libraries(settings: DataSettings) -> dict[str, str]:
    """Versions of what changes text or makes ids of it."""
    names = ["sentencepiece", "sacremoses", "regex", "pyarrow"]
    optional = {
        "py3langid": "language" in settings.cleaning.steps,
        "cyrtranslit": any(
            chosen is not None and chosen.transliterate
            for chosen in (settings.valid_set, settings.test_set)
        ),
        "fluent.syntax": settings.source == "localization",
    }
    names += [name for name, used in optional.items() if used]
    found = {name: version(name) for name in names if find_spec(name.partition(".")[0])}
    return {"unicode": unicodedata.unidata_version, **found}


def _prepare_into(
    folder: Path, source: ParallelSource, settings: DataSettings, *, progress: bool
) -> None:
    # Under the lock, a leftover belongs to a process that was killed while it put things together.
    for leftover in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(leftover)
    work, tally = _work(folder), Tally()
    with Workers(settings.workers) as workers:
        with step("cleaning", shown=progress) as bars:
            task = bars.add_task("blocks", total=None)
            clean_pairs(
                source,
                settings,
                folder=work / "clean",
                workers=workers,
                advance=lambda: bars.advance(task),
            )
        pairs = _decide(source, settings, folder=work / "clean", tally=tally, progress=progress)
        vocabulary = _vocabulary(pairs, settings, path=work / VOCABULARY, progress=progress)
        with step("encoding", shown=progress) as bars:
            task = bars.add_task("blocks", total=sum(len(each.blocks) for each in pairs))
            encode_pairs(
                pairs,
                settings,
                vocabulary=work / VOCABULARY,
                folder=work / "encoded",
                workers=workers,
                advance=lambda: bars.advance(task),
            )
    with replace_folder(folder) as part:
        for cleaned in pairs:
            write_tables(
                cleaned,
                encoded=work / "encoded",
                folder=part,
                dtype=token_type(vocabulary.size),
                tally=tally,
            )
            _require_training_text(cleaned.pair, settings, tally)
        vocabulary.save(part / VOCABULARY)
        _write_json(part / REPORT, _report(settings, source, vocabulary, tally))
        _write_json(part / MANIFEST, _manifest(part, source, settings))
    shutil.rmtree(work)


def _decide(
    source: ParallelSource, settings: DataSettings, *, folder: Path, tally: Tally, progress: bool
) -> list[CleanedPair]:
    """What is kept of the cleaned rows of every pair."""
    pairs = []
    with step("deciding", shown=progress) as bars:
        for pair in each({str(p): p for p in settings.parsed_pairs}, bars):
            cleaned = cleaned_pair(folder, pair, source.splits(pair), tally)
            if settings.cleaning.deduplicate:
                drop_repeated(cleaned, tally)
            pairs.append(cleaned)
        separate(pairs, settings, tally)
    for cleaned in pairs:
        _require_training_text(cleaned.pair, settings, tally)
    return pairs


def _vocabulary(
    pairs: list[CleanedPair], settings: DataSettings, *, path: Path, progress: bool
) -> Vocabulary:
    """The vocabulary, kept in the work folder until all is done."""
    if not path.is_file():
        with step("learning the vocabulary", shown=progress) as bars:
            bars.add_task("", total=None)
            vocabulary = make_vocabulary(pairs, settings)
        with replace_file(path) as part:
            vocabulary.save(part)
    return Vocabulary.load(path)


def _require_training_text(pair: Direction, settings: DataSettings, tally: Tally) -> None:
    trained = {pair, pair.reverse} & set(settings.parsed_directions)
    if trained and not tally.as_json(pair)["train"]["kept"]:
        raise DataError(
            f"no training text of '{pair}' is left; dropped: {tally.main_reasons(pair, 'train')}",
            fix="loosen data.cleaning or data.split, or look at the input",
        )


def _report(
    settings: DataSettings, source: ParallelSource, vocabulary: Vocabulary, tally: Tally
) -> dict[str, Any]:
    return {
        "schema": "nsmt.preparation",
        "version": VERSION,
        "name": settings.name,
        "settings": settings.identity(),
        "inputs": source.identity(),
        "libraries": _libraries(settings),
        "licences": source.licences(),
        "vocabulary": {
            "size": vocabulary.size,
            "fingerprint": vocabulary.fingerprint,
            "given": settings.vocabulary.model is not None,
        },
        "pairs": {str(pair): tally.as_json(pair) for pair in settings.parsed_pairs},
    }


def _manifest(folder: Path, source: ParallelSource, settings: DataSettings) -> dict[str, Any]:
    files = {path.name: _stamp(path) for path in sorted(folder.iterdir())}
    content = {name: entry["sha256"] for name, entry in files.items() if name != REPORT}
    languages = {code: asdict(entry) for code, entry in settings.language_table().items()}
    for entry in languages.values():
        del entry["code"]
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "name": settings.name,
        "pivot": settings.pivot,
        "pairs": [str(pair) for pair in settings.parsed_pairs],
        "directions": [str(direction) for direction in settings.parsed_directions],
        "languages": languages,
        "licences": source.licences(),
        "fingerprint": hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest(),
        "files": files,
    }


def _stamp(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256(path)}


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


def _work(folder: Path) -> Path:
    """Where the blocks of a preparation lie until it is done."""
    return folder.with_name(f".{folder.name}.work")


@contextmanager
def _keeping_what_helps(folder: Path) -> Iterator[None]:
    """Leave finished work where the next try can use it: not after faults of the input itself."""
    try:
        yield
    except NoSpaceError:
        raise
    except DataError:
        shutil.rmtree(_work(folder), ignore_errors=True)
        raise


@contextmanager
def _room_on(folder: Path, *, key: str) -> Iterator[None]:
    """Say which folder's device is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL:
            raise
        raise NoSpaceError(
            f"there is no space left on the device of {folder}",
            fix=f"free some, or set {key}, and run again: finished work is kept",
        ) from error
