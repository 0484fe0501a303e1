"""`prepare`: make the corpus that a configuration names, and stop."""

from __future__ import annotations

from pathlib import Path

from nsmt.commands.config import RunConfig
from nsmt.commands.train import train
from nsmt.data.prepare import prepare
from nsmt.data.tally import report_table
from nsmt.progress import result_console


def prepare_corpus(config: RunConfig) -> None:
    """Prepare or open the corpus, and show what it holds."""
    if config.check:
        # What can be wrong with the data, a training job would find as well.
        train(config)
        return
    corpus = prepare(
        config.data,
        corpora=Path(config.paths.corpora),
        downloads=Path(config.paths.downloads),
        # The table is this command's result, whether or not there was anything to prepare.
        table=False,
    )
    console = result_console()
    console.print(report_table(corpus.report))
    console.print(f"corpus: {corpus.folder}", soft_wrap=True, highlight=False, markup=False)
