"""One rank of a run that `nsmt.commands.launch` started: `python -m nsmt.commands.rank CONFIG`."""

from __future__ import annotations

import sys
from pathlib import Path

from nsmt.commands.config import RunConfig
from nsmt.commands.failure import reporting_failures
from nsmt.commands.launch import shared_corpus, train_here
from nsmt.records import log_into
from nsmt.training.trainer import rank


def main() -> None:
    """Read the configuration that the parent wrote and train."""
    with reporting_failures():
        config = RunConfig.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
        if rank() == 0:
            log_into(config.folder)
        train_here(config, shared_corpus(config))


if __name__ == "__main__":
    main()
