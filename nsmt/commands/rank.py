"""One rank of a run that `nsmt.commands.launch` started: `python -m nsmt.commands.rank CONFIG`."""

from __future__ import annotations

import signal
import sys
from contextlib import suppress
from pathlib import Path

from nsmt.commands.processes import die_with_parent


def main() -> None:
    """Train, and end with the launcher."""
    # Before what takes seconds to import: a launcher that is killed meanwhile leaves nobody behind.
    die_with_parent(signal.SIGKILL, named="torch.distributed.run")
    train_rank(Path(sys.argv[1]))


def train_rank(path: Path) -> None:
    """Read the configuration that the parent wrote and train."""
    from nsmt.commands.config import RunConfig
    from nsmt.commands.failure import reporting_failures
    from nsmt.commands.launch import prepared_corpus, train_here
    from nsmt.commands.notes import telling, told, withdraw
    from nsmt.errors import PreemptionError
    from nsmt.records import log_into
    from nsmt.training.signals import StopSignal
    from nsmt.training.world import rank
    from nsmt.turns import taking_turns

    with reporting_failures():
        config = RunConfig.model_validate_json(path.read_text(encoding="utf-8"))
        # The parent sees what is missing; to torchrun, ranks that stop as asked are no failure.
        with suppress(PreemptionError), StopSignal().listening() as stop:
            if rank() > 0:
                if (corpus := told(config)) is not None:
                    train_here(config, corpus, stop)
                return
            log_into(config.folder)
            # The ranks of a parent that was killed may still be at their last update.
            with taking_turns(config.lock("ranks")), telling(config) as tell:
                withdraw(config)
                corpus = prepared_corpus(config)
                tell(corpus)
                train_here(config, corpus, stop)


if __name__ == "__main__":
    main()
