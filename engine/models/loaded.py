"""A model ready to run: its checkpoint's module, card and identity, on a device, in a precision.

Guarantees: the module is in evaluation mode and gives float32 logits whatever the precision inside; on its way to a
device it is copied, never changed; batch norms are folded only where the answers stay within 1e-5; normalisation runs
where the pixels are, from their integers, in one fused expression.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from pathlib import Path

import torch
from torch import Tensor, nn

from engine.errors import DeviceError
from engine.models.card import ModelCard
from engine.models.catalog import find_model
from engine.models.checkpoint import load_checkpoint, sha256
from engine.models.detection import Detections, Detector
from engine.models.folding import fold_checked
from engine.models.output import Probed, TokenOutput
from engine.models.ready import Precision, arrange

PROBE_PX = 64
"""Edge of the image that a folded model is compared on."""


class LoadedModel:
    """A checkpoint's model.

    Args:
        module: The model.
        card: Its card.
        sha256: Hash of the checkpoint's bytes; what a run's identity rests on.
        device: Where the module is.
        precision: Arithmetic inside the model.
        folded_norms: Batch norms that were folded away.
    """

    def __init__(
        self,
        module: nn.Module,
        card: ModelCard,
        sha256: str,
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        folded_norms: int = 0,
    ) -> None:
        self.module = module.eval()
        self.card = card
        self.sha256 = sha256
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.folded_norms = folded_norms
        scaling = card.scaling
        self._tells_attention = "attention" in inspect.signature(module.forward).parameters
        std = torch.tensor(scaling.std, dtype=torch.float64)
        mean = torch.tensor(scaling.mean, dtype=torch.float64)
        self._gain = (1.0 / (scaling.divisor * std)).float().view(1, -1, 1, 1).to(self.device)
        self._offset = (-mean / std).float().view(1, -1, 1, 1).to(self.device)

    @property
    def name(self) -> str:
        """The model's name, as on its card."""
        return self.card.name

    def to(self, device: torch.device | str, precision: Precision = "float32") -> LoadedModel:
        """A copy made ready to run: on ``device``, channels last, batch norms folded where that is exact to 1e-5.

        Raises:
            DeviceError: The device is not there or has no memory left.
        """
        device = torch.device(device)
        module, folded = fold_checked(self.module.float(), self._probe(), _answers)
        if module is self.module:
            module = copy.deepcopy(module)
        try:
            return LoadedModel(
                arrange(module, device, precision),
                self.card,
                self.sha256,
                device=device,
                precision=precision,
                folded_norms=self.folded_norms + folded,
            )
        except (RuntimeError, AssertionError) as error:
            first = str(error).partition("\n")[0]
            raise DeviceError(
                f"the model cannot be brought to the device: {first}",
                where=str(device),
                remedy="Choose another device; 'cpu' is always there.",
            ) from error

    def normalise(self, raw: Tensor) -> Tensor:
        """Model input from stored values: ``(raw / divisor - mean) / std`` for each band, on the device.

        Args:
            raw: ``[B, C, H, W]`` integers or floats on the model's device, in the card's bands and value range.

        Returns:
            ``[B, C, H, W]`` float32, channels last.
        """
        if raw.dtype == torch.uint16:  # not every device computes with it
            raw = raw.to(torch.int32)
        out = torch.empty(raw.shape, dtype=torch.float32, device=raw.device, memory_format=torch.channels_last)
        return torch.addcmul(self._offset, raw, self._gain, out=out)

    def __call__(self, *images: Tensor, attention: bool = False) -> TokenOutput:
        """Run the model on normalised images ``[B, C, H, W]`` of its device; logits come back as float32.

        Args:
            images: The images; a model of change takes two, the earlier date first.
            attention: Whether ``tokens.attention`` is wanted of models that tell it only when asked.
        """
        asked = {"attention": True} if attention and self._tells_attention else {}
        half = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            output = self.module(*images, **asked)
        if not isinstance(output, TokenOutput):
            raise TypeError(f"{self.card.architecture} returned {type(output).__name__}, not TokenOutput")
        return dataclasses.replace(output, logits=output.logits.float()) if half else output

    def detect(self, images: Tensor) -> list[Detections]:
        """Find objects in normalised images ``[B, C, H, W]`` of the model's device, with a detector's model."""
        if not isinstance(self.module, Detector):
            raise TypeError(f"{self.card.architecture} is no detector")
        half = self.precision == "bfloat16"
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            return self.module.detect(images)

    def _probe(self) -> Tensor:
        edge = min(PROBE_PX, self.card.window_px)
        values = torch.arange(2 * len(self.card.bands) * edge * edge, dtype=torch.float64)
        device = next((p.device for p in self.module.parameters()), self.device)
        return torch.sin(0.37 * values + 1e-4 * values**1.5).float().view(2, -1, edge, edge).to(device)


def load_model(name_or_path: str | Path, *, device: torch.device | str = "cpu") -> LoadedModel:
    """Load a model by name or from a checkpoint, ready to run on ``device`` in float32.

    Raises:
        ModelNotFoundError: No model of this name, no such file.
        CheckpointError: The checkpoint is damaged, foreign or a pickle.
        DeviceError: The device is not there.
    """
    info = find_model(name_or_path)
    module, card = load_checkpoint(info.path)
    return LoadedModel(module, card, sha256(info.path)).to(device)


def _answers(module: nn.Module, probe: Tensor) -> tuple[Tensor, ...]:
    if isinstance(module, Probed):
        return module.probe_answers(probe)
    output = module(probe)
    return output.logits, output.tokens.features, output.tokens.assignment
