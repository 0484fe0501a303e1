"""The process of one job: `python -m nsmt.commands.sweep_process COMMAND FILE < job`.

A job is the overrides, for the record, and the resolved configuration. A failure is told in the
file, for whoever watches this process.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from nsmt.commands.failure import reporting_failures
from nsmt.commands.registry import COMMANDS
from nsmt.commands.safety import without_secrets
from nsmt.errors import NsmtError
from nsmt.files import replace_text


def main() -> None:
    """Run the command with the configuration of standard input."""
    name, told = sys.argv[1], Path(sys.argv[2])
    command = COMMANDS[name]
    job = json.load(sys.stdin)
    settings = command.schema.model_validate_json(json.dumps(job["config"]))
    # The certificate of a run says how it is had again, which is not how this process was called.
    sys.orig_argv = [sys.executable, "nsmt", *name.split(), *job["overrides"]]
    with reporting_failures():
        try:
            command.run(settings)
        except NsmtError as error:
            _tell(told, error, reason=error.problem, fix=error.fix)
            raise
        except Exception as error:
            # A fault of ours: its traceback goes to the log.
            reason = f"{type(error).__name__}: {error}"
            _tell(told, error, reason=reason, fix="its output has the traceback")
            raise


def _tell(path: Path, error: Exception, *, reason: str, fix: str) -> None:
    told = {"error": type(error).__name__, "reason": reason, "fix": fix}
    replace_text(path, json.dumps({k: without_secrets(v) for k, v in told.items()}))


if __name__ == "__main__":
    main()
