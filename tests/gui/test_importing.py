"""Importing in steps: the window goes on meanwhile, and only where that is safe."""

from __future__ import annotations

import sys
import threading
from importlib import import_module

import pytest
from PySide6.QtCore import QTimer

from rs_viewer import importing
from rs_viewer.importing import import_in_steps

PARTS = 6


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package ``slow_parts`` of several modules that each take longer than a step, and a module that uses it."""
    folder = tmp_path / "slow_parts"
    folder.mkdir()
    body = "import time\ntime.sleep(0.01)\nDONE = True\n"
    for number in range(PARTS):
        (folder / f"part{number}.py").write_text(body)
    (folder / "__init__.py").write_text("".join(f"from . import part{n}\n" for n in range(PARTS)) + "READY = True\n")
    (tmp_path / "slow_user.py").write_text("import slow_parts\nREADY = slow_parts.READY\n")
    (tmp_path / "slow_broken.py").write_text("import slow_parts.nothing\n")
    (tmp_path / "slow_other.py").write_text("import time\ntime.sleep(0.02)\nREADY = True\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "slow_parts"
    for name in [name for name in sys.modules if name.startswith("slow_")]:
        del sys.modules[name]


def repeating(interval_ms, slot):
    timer = QTimer()
    timer.timeout.connect(slot)
    timer.start(interval_ms)
    return timer


def test_the_window_has_its_turns_between_the_modules(package, qapp):
    seen = []
    timer = repeating(1, lambda: seen.append(sum(name.startswith("slow_parts.") for name in sys.modules)))
    module = import_in_steps("slow_user", package)
    timer.stop()
    assert module.READY
    assert len(set(seen)) >= PARTS - 2, "events were handled while the package was half imported"


def test_nothing_is_left_in_the_import_system(package, qapp):
    before = list(sys.meta_path)
    import_in_steps("slow_user", package)
    assert sys.meta_path == before
    import_in_steps("slow_user", package)
    with pytest.raises(ModuleNotFoundError):
        import_in_steps("slow_broken", "slow_elsewhere")
    assert sys.meta_path == before


def test_what_the_window_imports_in_its_turn_is_whole(package, qapp):
    got = []
    timer = repeating(1, lambda: got.append(import_module("slow_other").READY))
    import_in_steps("slow_user", package)
    timer.stop()
    assert got
    assert all(got)


def test_turns_do_not_nest(package, qapp, monkeypatch):
    depth, deepest = [0], [0]
    monkeypatch.setattr(importing, "STEP_S", 0.0)

    def work():
        depth[0] += 1
        deepest[0] = max(deepest[0], depth[0])
        sys.modules.pop("slow_parts.part9", None)
        with pytest.raises(ModuleNotFoundError):
            import_module("slow_parts.part9")
        depth[0] -= 1

    timer = repeating(0, work)
    import_in_steps("slow_user", package)
    timer.stop()
    assert deepest[0] == 1


def test_imports_of_other_threads_have_no_turns(package, qapp):
    pauses = importing._Pauses(package)
    pauses._since = 0.0
    turns = []
    timer = QTimer()
    timer.setSingleShot(True)
    timer.timeout.connect(lambda: turns.append(threading.current_thread()))
    timer.start(0)
    other = threading.Thread(target=pauses.find_spec, args=("slow_parts.part1", None))
    other.start()
    other.join()
    assert not turns
    assert pauses.find_spec("elsewhere", None) is None
    assert not turns
    assert pauses.find_spec("slow_parts.part1", None) is None
    assert turns == [threading.current_thread()]
