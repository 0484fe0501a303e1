"""Ranks that are forks of a process that has imported everything: for what ranks compute.

torchrun and two processes that import torch take ten seconds. That ranks are started, stopped and
told of is tested with those (tests/commands).
"""

import multiprocessing
import os
import socket
from multiprocessing.connection import wait
from pathlib import Path

_PROCESSES = multiprocessing.get_context("forkserver")
_PROCESSES.set_forkserver_preload(["nsmt.commands.rank", "nsmt.commands.launch"])


def run_ranks(command, *, environment, stop):
    """What `nsmt.commands.processes.run_ranks` does of the same command, but for signals."""
    del stop
    (count,) = (word.partition("=")[2] for word in command if word.startswith("--nproc-per-node="))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    told = {**os.environ, **environment, "TORCHELASTIC_RUN_ID": f"forked-{port}"}
    told |= {
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": port,
        "WORLD_SIZE": count,
        "LOCAL_WORLD_SIZE": count,
        "GROUP_RANK": "0",
    }
    ranks = [
        _PROCESSES.Process(
            target=_train,
            args=({**told, "RANK": str(rank), "LOCAL_RANK": str(rank)}, command[-1]),
        )
        for rank in range(int(count))
    ]
    for rank in ranks:
        rank.start()
    running, failed = {rank.sentinel: rank for rank in ranks}, 0
    try:
        while running and not failed:
            ended = [running.pop(sentinel) for sentinel in wait(list(running))]
            failed = next((rank.exitcode for rank in ended if rank.exitcode), 0)
    finally:
        for rank in running.values():
            # It would wait for the one that failed.
            rank.kill()
            rank.join()
    return failed


def _train(told, path):
    from nsmt.commands.rank import train_rank

    os.environ.update(told)
    train_rank(Path(path))
