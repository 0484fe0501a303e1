"""Claims about `nsmt probe`: what it leaves, that it measures once, and that models stay as are."""

import json
import sys

import pytest

from nsmt.cli import main

QUICK = (
    "interventions.bootstrap_samples=50",
    "interventions.random_seeds=[1,2]",
    "interventions.k=[70]",
    "gradients.tokens=300",
    "gradients.memory_gib=0.0002",
    "transfer.tokens=300",
    "stability.replicas=5",
    "progress=false",
)
PROBES = ("interventions", "gradients", "transfer", "stability", "family")


@pytest.fixture
def nsmt(monkeypatch):
    def run(*words):
        monkeypatch.setattr(sys, "argv", ["nsmt", *words])
        main()

    return run


def results(folder):
    return {
        name: json.loads((folder / "probes" / f"{name}.json").read_text())
        for name in PROBES
        if (folder / "probes" / f"{name}.json").is_file()
    }


def test_all(run_copy, nsmt, capsys):
    nsmt("probe", f"run={run_copy}", *QUICK)
    print(capsys.readouterr().out)
    import os

    os.system(f"cp -r {run_copy}/probes /tmp/probes_out; ls -R {run_copy}/probes")
    raise
