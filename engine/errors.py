"""Everything a user can cause, as one family: each error says what happened, where, and what would work.

Guarantees: every error a person can provoke with input, options or a full disk is an :class:`EngineError`; each
also derives from the built-in error that plain Python code would expect. Anything else that escapes is a fault
of the program. Warnings are classes too and reach the user through events or the object that noticed them.
"""

from __future__ import annotations

from pathlib import Path


class EngineError(Exception):
    """Base of all errors a user can cause.

    Args:
        what: What happened, a sentence without its final stop.
        where: The file, layer or option it happened at.
        remedy: What would work, a sentence.
    """

    exit_code = 2
    """Status the command line exits with."""

    def __init__(self, what: str, *, where: str | Path | None = None, remedy: str = "") -> None:
        self.what = what.rstrip(".")
        self.where = str(where) if where is not None else None
        self.remedy = remedy
        super().__init__(self.message)

    @property
    def message(self) -> str:
        """The whole sentence: what, where, what would work."""
        place = f" ({self.where})" if self.where else ""
        return f"{self.what}{place}." + (f" {self.remedy}" if self.remedy else "")

    def __str__(self) -> str:
        return self.message


class SceneError(EngineError, OSError):
    """A raster cannot be opened or read."""


class BandError(EngineError, ValueError):
    """A scene lacks the bands that were asked for."""


class PairError(EngineError, ValueError):
    """Two scenes cannot be compared."""


class RoiError(EngineError, ValueError):
    """A region of interest cannot be used on this scene."""


class CardError(EngineError, ValueError):
    """A model card is not valid."""


class CheckpointError(EngineError, ValueError):
    """A checkpoint is damaged, foreign or unsafe to load."""


class ModelNotFoundError(EngineError, LookupError):
    """No model has this name."""


class DeviceError(EngineError, RuntimeError):
    """The device that was asked for cannot be used."""


class OptionError(EngineError, ValueError):
    """An option has a value that cannot work."""


class OutputError(EngineError, OSError):
    """Results cannot be written."""


class AnalysisError(EngineError, ValueError):
    """An analysis folder cannot be opened or continued."""


class ExportError(EngineError, ValueError):
    """An analysis cannot be exported this way."""


class TrainingError(EngineError, ValueError):
    """A recipe or a data set cannot be trained on."""


class CancelledError(EngineError):
    """The user cancelled; what was done so far is kept."""

    exit_code = 130


class EngineWarning(UserWarning):
    """Base of everything worth telling a user that stops nothing."""

    @property
    def message(self) -> str:
        """The sentence to show."""
        return str(self.args[0]) if self.args else type(self).__name__


class NoCrsWarning(EngineWarning):
    """The raster says nothing about its place on Earth."""


class GroundResolutionWarning(EngineWarning):
    """The scene's ground sample distance is far from the model's."""


class BandWarning(EngineWarning):
    """Bands were guessed or fall short of what the model was trained on."""


class RadiometryWarning(EngineWarning):
    """Pixel values were scaled to the range the model was trained on, or lie outside it."""


class NoOverviewWarning(EngineWarning):
    """A large raster has no overviews: viewing it zoomed out is slow."""


class GeolocationWarning(EngineWarning):
    """The raster was put on a map grid from control points or RPCs, or lies on another planet."""


class DeviceWarning(EngineWarning):
    """The run uses another device, precision or batch size than hoped for."""


class PairWarning(EngineWarning):
    """Two scenes were brought onto one grid, and what that took."""


class RegionWarning(EngineWarning):
    """Regions or their measures come with a reservation."""


class DataWarning(EngineWarning):
    """Part of a data set is left out of training or evaluation."""
