"""`data stats` and `data sample`: a prepared corpus, looked at from outside and from inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from nsmt.data.corpus import Corpus
from nsmt.data.datamodule import TableReader, sequence_format
from nsmt.data.overview import LENGTH_BINS, Overview, fill, overview, sampling
from nsmt.data.plan import PlannedBatch
from nsmt.data.settings import Temperature
from nsmt.errors import DataError
from nsmt.files import replace_text
from nsmt.languages import Direction
from nsmt.progress import result_console, step
from nsmt.records import certificate, certificate_entries, command_line
from nsmt.reporting.corpus import (
    fill_table,
    languages_table,
    overlap_table,
    pairs_table,
    sampling_table,
)
from nsmt.reporting.figures import length_histograms
from nsmt.reporting.html import (
    DefinitionSection,
    FigureSection,
    Section,
    TableSection,
    render_report,
)
from nsmt.reporting.tables import Table, save_tables
from nsmt.settings import Count, Settings


class StatsConfig(Settings):
    """All of `nsmt data stats`."""

    corpus: str = Field(description="the folder of a prepared corpus")
    temperatures: tuple[Temperature, ...] = Field((1.0, 2.0, 5.0), min_length=1)
    verify: bool = Field(default=True, description="compare every file with its checksum first")
    batch_tokens: tuple[Count, ...] = Field((2048, 4096, 7680), min_length=1)
    output: str | None = Field(None, description="folder for tables and a page; null: print only")
    progress: bool = True


class SampleConfig(Settings):
    """All of `nsmt data sample`."""

    corpus: str = Field(description="the folder of a prepared corpus")
    direction: str | None = Field(None, description="as in de-en; null: the first one")
    split: Literal["train", "valid", "test"] = "train"
    number: Count = 3
    seed: Annotated[int, Field(ge=0)] = 0


def stats(config: StatsConfig) -> None:
    """Count what the corpus holds, print it, and write a page if asked."""
    corpus = Corpus.open(Path(config.corpus))
    if config.verify:
        with step("verifying", shown=config.progress) as bars:
            bars.add_task("", total=None)
            corpus.verify()
    with step("counting", shown=config.progress) as bars:
        bars.add_task("", total=None)
        found = overview(corpus)
    shares = {each: sampling(corpus, each) for each in config.temperatures}
    fills = {
        (tokens, temperature): fill(corpus, tokens=tokens, temperature=temperature)
        for tokens in config.batch_tokens
        for temperature in config.temperatures
    }
    tables = {
        "pairs": pairs_table(found),
        "languages": languages_table(found, corpus.languages),
        "overlap": overlap_table(found, pivot=corpus.pivot),
        "sampling": sampling_table(shares),
        "fill": fill_table(fills),
    }
    console = result_console()
    for table in tables.values():
        console.print(table.to_rich())
    if config.output is not None:
        page = _page(config, corpus, found, tables, into=Path(config.output))
        console.print(f"page: {page}", soft_wrap=True, highlight=False, markup=False)


def _page(
    config: StatsConfig, corpus: Corpus, found: Overview, tables: dict[str, Table], *, into: Path
) -> Path:
    save_tables(tables, into / "tables")
    figure = length_histograms(
        {code: entry.lengths.tolist() for code, entry in found.languages.items()}, LENGTH_BINS
    )
    caption = "Share of the training sentences by their tokens, tag and </s> not counted."
    record = certificate(
        command=command_line(),
        config=config.model_dump(mode="json"),
        seed=0,
        fingerprint=corpus.fingerprint,
    )
    sections: list[Section] = [
        *(TableSection(table) for table in tables.values()),
        FigureSection("Lengths", figure, caption),
        DefinitionSection("Licences", corpus.licences),
    ]
    page = render_report(sections, certificate_entries(record), title=f"corpus {corpus.name}")
    replace_text(into / "corpus.html", page)
    return into / "corpus.html"


def sample(config: SampleConfig) -> None:
    """Print sentences as the model reads them: framed pieces of both sides, and their text."""
    corpus = Corpus.open(Path(config.corpus))
    direction = (
        corpus.directions[0] if config.direction is None else Direction.parse(config.direction)
    )
    table = corpus.table(direction, config.split)
    if not len(table):
        raise DataError(
            f"{config.split} of {direction} is empty", fix="name another direction or split"
        )
    rng = np.random.default_rng(config.seed)
    rows = np.sort(rng.choice(len(table), min(config.number, len(table)), replace=False))
    reader = TableReader({direction: table}, sequence_format(corpus.vocabulary))
    batch = reader.read(PlannedBatch(np.zeros(len(rows), dtype=np.int64), rows))
    console = result_console()
    for place, row in enumerate(rows.tolist()):
        sides = {
            "source": batch.source_BS[place][batch.source_real_BS[place]],
            "decoder input": batch.target_in_BT[place][batch.target_real_BT[place]],
            "target": batch.target_out_BT[place][batch.target_real_BT[place]],
        }
        lines = [f"{direction} {config.split} {row}"]
        for name, ids in sides.items():
            pieces = " ".join(corpus.vocabulary.piece(piece) for piece in ids.tolist())
            lines.append(f"  {name} ({len(ids)}): {pieces}")
        for name, pieces_of in (("source", table.source), ("target", table.target)):
            text = corpus.vocabulary.decode([pieces_of(row).tolist()])[0]
            lines.append(f"  {name} text: {text}")
        console.print("\n".join(lines), highlight=False, markup=False, soft_wrap=True)
