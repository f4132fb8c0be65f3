"""Cyclic garbage is collected on the GUI thread alone while the program runs."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest

from rs_viewer.garbage import GarbageCollector


class Node:
    """Part of a cycle."""


def make_cycle(ended_on):
    node = Node()
    node.itself = node
    weakref.finalize(node, lambda: ended_on.append(threading.get_ident()))


@pytest.fixture
def collector(qapp):
    gc.enable()
    made = GarbageCollector()
    yield made
    made.stop()
    made.deleteLater()


def test_cycles_that_threads_leave_are_collected_by_the_window(qtbot, collector):
    ended_on = []
    count = gc.get_threshold()[0] + 2000

    def work():
        for _ in range(count):
            make_cycle(ended_on)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert ended_on == [], "the thread itself collects nothing"
    qtbot.waitUntil(lambda: len(ended_on) == count, timeout=10_000)
    assert set(ended_on) == {threading.main_thread().ident}


def test_a_collection_waits_until_it_is_due(collector):
    gc.collect()
    ended_on = []
    make_cycle(ended_on)
    collector.collect_due()
    assert ended_on == []


def test_what_has_settled_is_not_searched_again(collector):
    ended_on = []
    make_cycle(ended_on)
    collector.settle()
    gc.collect()
    assert ended_on == []
    gc.unfreeze()
    gc.collect()
    assert len(ended_on) == 1


def test_stopping_leaves_collecting_to_python(qapp):
    gc.enable()
    made = GarbageCollector()
    assert not gc.isenabled()
    made.stop()
    assert gc.isenabled()
    made.deleteLater()
