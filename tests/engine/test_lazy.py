"""Names of packages that are imported when they are first used."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest

import engine.inference
import engine.models
from engine.lazy import lazy_names


@pytest.mark.parametrize("package", [engine.models, engine.inference])
def test_every_public_name_is_found_and_listed(package):
    assert dir(package) == sorted(package.__all__)
    for name in package.__all__:
        assert getattr(package, name).__module__.startswith("engine."), name


def test_an_unknown_name_is_refused_as_usual():
    with pytest.raises(AttributeError, match=r"module 'engine.models' has no attribute 'nothing'"):
        _ = engine.models.nothing
    assert not hasattr(engine.inference, "nothing")


def test_a_module_is_imported_only_when_its_name_is_used(tmp_path, monkeypatch):
    folder = tmp_path / "lazy_package"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "home.py").write_text("VALUE = 7\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    package = ModuleType("lazy_package")
    package.__path__ = [str(folder)]
    monkeypatch.setitem(sys.modules, "lazy_package", package)
    get, names = lazy_names("lazy_package", {"home": ("VALUE",)})
    assert names() == ["VALUE"]
    assert "lazy_package.home" not in sys.modules
    assert get("VALUE") == 7
    monkeypatch.delitem(sys.modules, "lazy_package.home")
