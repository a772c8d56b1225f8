"""Blocks that come from processes, and processes that are gone."""

import multiprocessing
import threading
import time

import numpy as np
import pytest

from experiments.detection import feeding, finding
from experiments.detection.finding import Block
from experiments.detection.inputs import Input
from experiments.detection.settings import Settings


def block(number):
    """Of more bytes than a pipe holds."""
    return Block(number, (), np.full((8, 256, 256, 3), number, np.uint8), {})


def endless(line, source, settings, share):
    """Stands for the work of a process that is ahead of the network."""
    del source, settings, share
    with finding._ahead(line) as put:
        for number in range(10**6):
            put(block(number))


def test_a_process_that_is_killed_while_it_sends_is_named(monkeypatch):
    monkeypatch.setattr(finding, "work", endless)
    source = Input("a.avi", "a", "film", ("a.avi",))
    with feeding.feed(source, Settings(finder="mesh"), first=0, workers=1) as made:
        first = next(made)
        assert isinstance(first, Block) and first.number == 0
        time.sleep(0.3)  # the next block is on its way, and a pipe holds only a part of it
        (process,) = multiprocessing.active_children()
        process.kill()
        gone = r"the process that reads it is gone \(exit code -9\); out of memory"
        with pytest.raises(feeding.InputError, match=gone):
            list(made)


def test_a_process_ends_in_silence_with_the_one_that_started_it(capfd):
    context = multiprocessing.get_context("spawn")
    line, end = context.Pipe(duplex=False)
    process = context.Process(target=endless, args=(end, None, None, None), daemon=True)
    process.start()
    end.close()
    assert line.recv().number == 0
    line.close()
    process.join(30)
    assert process.exitcode == 1 and capfd.readouterr().err == ""


def test_no_more_than_some_blocks_are_made_ahead():
    reading, writing = multiprocessing.Pipe(duplex=False)
    made = []
    with finding._ahead(writing) as put:

        def make():
            for number in range(8):
                made.append(number)
                put(block(number))

        thread = threading.Thread(target=make)
        thread.start()
        thread.join(0.5)
        # One is sent, two wait, the next one waits to be put.
        assert made == [0, 1, 2, 3]
        found = [reading.recv() for _ in range(8)]
        thread.join()
    assert [one.number for one in found] == list(range(8))
    assert all((one.crops == one.number).all() for one in found)
