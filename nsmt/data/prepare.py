"""From sources to a prepared corpus: fetch, clean, split, learn the vocabulary, encode.

The folder is named by what decides its bytes (settings, inputs, schema), so preparing twice is a
no-op, and equal settings and inputs give equal bytes. Everything is written to a hidden
neighbour that is renamed at the very end: a folder that is there is whole. Processes take turns by
a lock on the folder of corpora; the second finds what the first made.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nsmt.data.corpus import MANIFEST, REPORT, SCHEMA, VERSION, Corpus
from nsmt.data.encode import encode_pair, given_vocabulary, make_vocabulary
from nsmt.data.sources import DataSettings, ParallelSource, make_source
from nsmt.data.split import HeldOut
from nsmt.data.spool import SpooledPair, cap_held_out, spool_pair
from nsmt.data.tally import Tally, report_table
from nsmt.data.vocabulary import VOCABULARY, Vocabulary
from nsmt.errors import DataError
from nsmt.files import replace_folder, sha256
from nsmt.progress import console, each, step


def prepare(
    settings: DataSettings, *, corpora: Path, downloads: Path, progress: bool = True
) -> Corpus:
    """Prepare the corpus that the settings describe, or open it if that was done before.

    Args:
        settings: the corpus, its cleaning, splits and vocabulary.
        corpora: folder in which prepared corpora lie, one folder each.
        downloads: folder in which downloaded inputs are kept.
        progress: show bars, licences and a table of counts on standard error.

    Raises:
        DataError: inputs that are missing or broken, or nothing left to train on.
    """
    source = make_source(settings)
    folder = corpora / folder_name(settings, source)
    if not folder.exists():
        corpora.mkdir(parents=True, exist_ok=True)
        with _taking_turns(corpora):
            if not folder.exists():
                source.fetch(downloads, progress=progress)
                _prepare_into(folder, source, settings, progress=progress)
                _tell(Corpus.open(folder), shown=progress)
    return Corpus.open(folder)


def _tell(corpus: Corpus, *, shown: bool) -> None:
    if shown:
        for code, licence in corpus.licences.items():
            console.print(f"{code}: {licence}", highlight=False, markup=False)
        console.print(report_table(corpus.report))


def folder_name(settings: DataSettings, source: ParallelSource) -> str:
    """The corpus folder's name: the configured one and a hash of all that decides its bytes."""
    identity = {"version": VERSION, "settings": settings.identity(), "inputs": source.identity()}
    if (given := given_vocabulary(settings)) is not None:
        identity["vocabulary"] = given.fingerprint
    encoded = json.dumps(identity, sort_keys=True, ensure_ascii=False).encode()
    return f"{settings.name}-{hashlib.sha256(encoded).hexdigest()[:12]}"


def _prepare_into(
    folder: Path, source: ParallelSource, settings: DataSettings, *, progress: bool
) -> None:
    # Under the lock, a leftover belongs to a process that was killed.
    for leftover in folder.parent.glob(f".{folder.name}.*.partial"):
        shutil.rmtree(leftover)
    with replace_folder(folder) as part:
        _write_corpus(part, source, settings, progress=progress)


def _write_corpus(
    part: Path, source: ParallelSource, settings: DataSettings, *, progress: bool
) -> None:
    tally = Tally()
    spool = part / "spool"
    spool.mkdir()
    spools = _spool(source, settings, folder=spool, tally=tally, progress=progress)
    with step("learning the vocabulary", shown=progress) as bars:
        bars.add_task("", total=None)
        vocabulary = make_vocabulary(spools, settings)
    vocabulary.save(part / VOCABULARY)
    with step("encoding", shown=progress) as bars:
        for spooled in each({str(s.pair): s for s in spools}, bars):
            encode_pair(spooled, vocabulary, settings, folder=part, tally=tally)
            _require_training_text(spooled, settings, tally)
    shutil.rmtree(spool)
    report = _report(settings, source, vocabulary, tally)
    _write_json(part / REPORT, report)
    _write_json(part / MANIFEST, _manifest(part, source, settings))


def _spool(
    source: ParallelSource, settings: DataSettings, *, folder: Path, tally: Tally, progress: bool
) -> list[SpooledPair]:
    spools: list[SpooledPair] = []
    held_out = HeldOut(settings.pivot)
    with step("cleaning", shown=progress) as bars:
        for pair in each({str(p): p for p in settings.parsed_pairs}, bars):
            path = folder / f"{pair}.arrow"
            spooled = spool_pair(source, pair, settings, path=path, tally=tally)
            for row in (row for rows in spooled.held.values() for row in rows):
                held_out.add(pair, row.keys)
            cap_held_out(spooled, settings, tally)
            spools.append(spooled)
    for spooled in spools:
        spooled.mark(held_out, tally)
        _require_training_text(spooled, settings, tally)
    return spools


def _require_training_text(spooled: SpooledPair, settings: DataSettings, tally: Tally) -> None:
    pair = spooled.pair
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
        "licences": source.licences(),
        "vocabulary": {"size": vocabulary.size, "fingerprint": vocabulary.fingerprint},
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


@contextmanager
def _taking_turns(corpora: Path) -> Iterator[None]:
    with (corpora / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
