"""A signal after the training: what is under way ends, nothing further begins, and 75 says it."""

import os
import signal

import pytest
from reproductions import NS, as_if_finished, configured

from nsmt.cli import main
from nsmt.commands import reproduce as command
from nsmt.commands import reproduce_comet, reproduce_probes, reproduce_unseen
from nsmt.commands.reproduce import output_folder
from nsmt.errors import PreemptionError
from nsmt.neurons import storage


@pytest.mark.parametrize(
    ("table", "room", "work"),
    [
        ("zero_shot", reproduce_unseen, "zero_shot"),
        ("probes", reproduce_probes, "probe"),
        ("table11", reproduce_comet, "comet"),
        ("table2", command, "write_page"),
        # Whatever goes wrong there is told as a file that cannot be read, but for this.
        ("table2", storage, "safe_open"),
    ],
)
def test_a_signal_ends_what_is_measured_of_runs(
    finished_run, tmp_path, monkeypatch, capsys, table, room, work
):
    words = [table, "scale=smoke", f"methods=[{NS}]", f"paths.runs={tmp_path}/runs", "seeds=[1,2]"]
    as_if_finished(words[:-1], (1, 2), finished_run)
    if room is reproduce_comet:
        words.append("comet.environment=some")
        monkeypatch.setattr(command, "require_comet", lambda _: None)
    begun = []

    def asked_to_stop(*rest, **named):
        begun.append(rest)
        os.kill(os.getpid(), signal.SIGTERM)
        pytest.fail("went on")

    monkeypatch.setattr(room, work, asked_to_stop)
    monkeypatch.setattr(command, "_run", lambda _: 0)
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as end:
        main(["reproduce", *words])
    assert end.value.code == PreemptionError.status
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert len(begun) == 1
    assert signal.getsignal(signal.SIGTERM) is before
    assert not (output_folder(configured(*words)) / "report.html").exists()
