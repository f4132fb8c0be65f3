import subprocess
import sys

import pytest

import engine

LIGHT = [
    "engine",
    "engine.scene",
    "engine.scene.demo",
    "engine.errors",
    "engine.inference.options",
    "engine.models.card",
]


def test_light_modules_do_not_import_torch_or_qt():
    heavy = "{'torch', 'numba', 'PySide6'} & set(sys.modules)"
    code = f"import sys, {', '.join(LIGHT)}; sys.exit(' '.join({heavy}) or 0)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_public_names_are_listed_and_others_are_refused():
    assert set(engine.__all__) <= set(dir(engine))
    assert engine.open_scene == engine.Scene.open
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        engine.nonsense  # noqa: B018
