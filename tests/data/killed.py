"""A preparation to be killed: `python killed.py ROOT CORPORA WORKERS`; small blocks, many files."""

import sys
from pathlib import Path

from nsmt.data import blocks
from nsmt.data.prepare import prepare
from nsmt.data.settings import SplitSettings, VocabularySettings
from nsmt.data.sources.files import FilesSettings

if __name__ == "__main__":
    root, corpora, workers = sys.argv[1:]
    blocks.BLOCK_ROWS = 150
    settings = FilesSettings(
        source="files",
        root=root,
        pairs=("en-de", "fr-en"),
        split=SplitSettings(valid=0.05, test=0.05, max_test=40),
        vocabulary=VocabularySettings(size=120),
        workers=int(workers),
    )
    downloads = Path(corpora).with_name("downloads")
    folder = prepare(settings, corpora=Path(corpora), downloads=downloads, progress=False).folder
    sys.stdout.write(f"{folder}\n")
