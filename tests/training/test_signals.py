"""What a run hears of signals."""

import os
import signal
import subprocess
import sys
import time

from nsmt.training.signals import StopSignal


def test_one_request_that_comes_several_times_is_one():
    """A parent of several threads that dies is told of by each."""
    stop = StopSignal()
    with stop.listening():
        for _ in range(3):
            os.kill(os.getpid(), signal.SIGTERM)
        assert stop.asked == signal.SIGTERM


def test_a_second_request_ends_the_process_at_once():
    code = """
import time
from nsmt.training.signals import StopSignal
with StopSignal().listening():
    print("listening", flush=True)
    time.sleep(60)
    time.sleep(60)
"""
    child = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    child.stdout.readline()
    child.terminate()
    time.sleep(1.0)
    assert child.poll() is None
    child.terminate()
    assert child.wait(10) == -signal.SIGTERM
