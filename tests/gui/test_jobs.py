"""Background jobs: order, coalescing, cancelling, failing, newest-wins requests, shutdown."""

from __future__ import annotations

import itertools
import threading
import time
import weakref

import pytest

from engine.errors import CancelledError, OutputError
from engine.inference.events import StageChanged, Started, StripWritten, WindowDone
from rs_viewer.jobs import DELIVERIES_PER_S, Failure, Jobs, JobState, coalesce
from rs_viewer.latest import Latest


@pytest.fixture
def jobs(qapp):
    made = Jobs()
    yield made
    made.shutdown()
    made.deleteLater()


@pytest.mark.parametrize("lane", ["device", "files"])
def test_a_job_reports_in_order_then_succeeds(jobs, qtbot, lane):
    def work(context):
        for number in range(5):
            context.report(number)
        return threading.current_thread().name

    job = jobs.submit("count", work, lane=lane)
    seen = []
    job.reported.connect(seen.append)
    job.ended.connect(lambda: seen.append("ended"))
    with qtbot.waitSignal(job.succeeded, timeout=5000) as done:
        pass
    qtbot.waitUntil(lambda: "ended" in seen, timeout=5000)
    assert seen == [0, 1, 2, 3, 4, "ended"]
    assert job.state is JobState.SUCCEEDED
    assert done.args[0] != threading.main_thread().name
    assert jobs.active == []


def test_device_jobs_share_one_thread_and_run_one_after_the_other(jobs, qtbot):
    running, most, names = [], [], set()

    def work(context):
        running.append(1)
        most.append(len(running))
        names.add(threading.get_ident())
        time.sleep(0.01)
        running.pop()

    made = [jobs.submit(str(number), work, lane="device") for number in range(6)]
    qtbot.waitUntil(lambda: not any(job.active for job in made), timeout=5000)
    assert max(most) == 1
    assert len(names) == 1


def test_file_jobs_go_on_while_the_device_works(jobs, qtbot):
    gate = threading.Event()
    slow = jobs.submit("run", lambda context: gate.wait(10), lane="device")
    quick = jobs.submit("open", lambda context: "opened")
    qtbot.waitUntil(lambda: quick.state is JobState.SUCCEEDED, timeout=5000)
    assert slow.active
    gate.set()
    qtbot.waitUntil(lambda: not slow.active, timeout=5000)


def test_progress_is_coalesced_and_results_are_not(jobs, qtbot):
    def work(context):
        for number in range(2000):
            context.report(WindowDone(number + 1, 2000, 1.0, None))
            context.report(StripWritten(number, number + 1))
            time.sleep(0.0002)

    job = jobs.submit("many", work)
    seen, times = [], []
    job.reported.connect(lambda event: (seen.append(event), times.append(time.monotonic())))
    qtbot.waitUntil(lambda: not job.active, timeout=20_000)
    done = [event for event in seen if isinstance(event, WindowDone)]
    strips = [event for event in seen if isinstance(event, StripWritten)]
    assert done[-1].windows_done == 2000
    assert [event.windows_done for event in done] == sorted(event.windows_done for event in done)
    assert (strips[0].row_start, strips[-1].row_stop) == (0, 2000)
    assert all(a.row_stop == b.row_start for a, b in itertools.pairwise(strips))
    assert len(done) <= (times[-1] - times[0]) * DELIVERIES_PER_S + 2


def test_coalescing_keeps_what_matters():
    events = [
        Started(2, 0, 8, 8, "CPU", None),
        WindowDone(1, 2, 1.0, None),
        StripWritten(0, 4),
        StageChanged("regions", 0.1),
        WindowDone(2, 2, 1.0, None),
        StripWritten(4, 8),
        StripWritten(10, 12),
        StageChanged("regions", 0.9),
    ]
    kept = coalesce(events)
    assert kept[0] is events[0]
    assert [e for e in kept if isinstance(e, StripWritten)] == [StripWritten(0, 8), StripWritten(10, 12)]
    assert [e for e in kept if isinstance(e, WindowDone)] == [events[4]]
    assert [e for e in kept if isinstance(e, StageChanged)] == [events[7]]


def test_a_users_error_keeps_its_three_parts(jobs, qtbot):
    def work(context):
        raise OutputError("the disk is full", where="/there", remedy="Free some space.")

    job = jobs.submit("write", work)
    with qtbot.waitSignal(job.failed, timeout=5000) as failed:
        pass
    assert failed.args[0] == Failure("the disk is full", "/there", "Free some space.", "")
    assert failed.args[0].message == "the disk is full (/there). Free some space."


def test_a_fault_of_the_program_carries_its_traceback(jobs, qtbot, caplog):
    job = jobs.submit("fault", lambda context: 1 / 0)
    with qtbot.waitSignal(job.failed, timeout=5000) as failed:
        pass
    assert "ZeroDivisionError" in failed.args[0].what
    assert "Traceback" in failed.args[0].details


def test_a_running_job_is_cancelled_when_it_asks(jobs, qtbot):
    begun = threading.Event()

    def work(context):
        begun.set()
        while True:
            context.raise_if_cancelled()
            time.sleep(0.001)

    job = jobs.submit("endless", work)
    qtbot.waitUntil(begun.is_set, timeout=5000)
    with qtbot.waitSignal(job.cancelled, timeout=5000):
        job.cancel()
    assert job.state is JobState.CANCELLED


def test_a_waiting_job_that_is_cancelled_never_runs(jobs, qtbot):
    gate, ran = threading.Event(), []
    first = jobs.submit("first", lambda context: gate.wait(10), lane="device")
    second = jobs.submit("second", lambda context: ran.append(1), lane="device")
    second.cancel()
    gate.set()
    qtbot.waitUntil(lambda: not first.active and not second.active, timeout=5000)
    assert second.state is JobState.CANCELLED
    assert ran == []


def test_newest_request_wins(jobs, qtbot):
    gate, answers, ran = threading.Event(), [], []
    latest = Latest(jobs, "look up")
    latest.answered.connect(answers.append)

    def asking(number):
        def work(context):
            ran.append(number)
            gate.wait(10)
            return number

        return work

    for number in range(20):
        latest.ask(asking(number))
    qtbot.waitUntil(lambda: bool(ran), timeout=5000)
    gate.set()
    qtbot.waitUntil(lambda: bool(answers), timeout=5000)
    assert answers == [19]
    assert len(ran) <= 2


def test_a_forgotten_request_is_not_answered(jobs, qtbot):
    gate, answers = threading.Event(), []
    latest = Latest(jobs, "look up")
    latest.answered.connect(answers.append)
    latest.ask(lambda context: gate.wait(10))
    latest.forget()
    gate.set()
    qtbot.waitUntil(lambda: not jobs.active, timeout=5000)
    assert answers == []


def test_shutdown_cancels_and_joins_everything(qapp, qtbot):
    jobs = Jobs()

    def work(context):
        while not context.cancelled():
            time.sleep(0.001)
        raise CancelledError("stopped")

    jobs.submit("device", work, lane="device")
    jobs.submit("files", work)
    before = threading.active_count()
    assert before > 1
    jobs.shutdown()
    assert not [t for t in threading.enumerate() if t.name == "device worker" or t.name.startswith("files")]
    with pytest.raises(RuntimeError):
        jobs.submit("late", work)
    jobs.deleteLater()


@pytest.mark.parametrize("lane", ["device", "files"])
def test_jobs_and_what_their_work_closes_over_die_on_the_gui_thread(jobs, qtbot, lane):
    ended_on = []

    def note():
        ended_on.append(threading.get_ident())

    class Held:
        """Stands for a dialog that asked for the work."""

    def start(number):
        held = Held()
        weakref.finalize(held, note)

        def work(context):
            if number % 3 == 1:
                raise OutputError("full", remedy="make room")
            return held is not None

        weakref.finalize(jobs.submit(str(number), work, lane=lane), note)

    for number in range(60):
        start(number)
    qtbot.waitUntil(lambda: len(ended_on) == 120, timeout=10_000)
    assert set(ended_on) == {threading.main_thread().ident}
