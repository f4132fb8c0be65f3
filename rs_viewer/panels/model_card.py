"""A model's card as people read it: what it sees, at which resolution, how well, whose data, which licence."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING, Any

from PySide6.QtCore import Qt
from PySide6.QtWidgets import QFrame, QLabel, QVBoxLayout, QWidget

from rs_viewer import format as fmt
from rs_viewer.panels.common import Section, wrapped

if TYPE_CHECKING:
    from engine.models.card import ModelCard

SHOWN_CLASSES = 12
METRIC_NAMES = {
    "miou": "mean IoU",
    "top1": "top-1",
    "top5": "top-5",
    "pixel_accuracy": "pixel accuracy",
    "mean_accuracy": "mean class accuracy",
    "purity": "region purity",
    "boundary_recall": "boundary recall",
    "f1": "F1",
    "iou": "IoU",
    "batch_f1": "F1 of batches",
    "best_f1": "best F1",
    "best_threshold": "at probability",
    "map_area": "mAP",
    "map_11": "mAP of 11 points",
    "best_score": "at score",
}
TABLE_NAMES = {
    "iou": "IoU by class",
    "accuracy": "Accuracy by class",
    "class_iou": "IoU by class",
    "class_accuracy": "Accuracy by class",
    "ap_area": "AP by class",
    "ap_11": "AP of 11 points by class",
}
COST_UNITS = {"tokens": "tokens", "parameters_m": "M parameters", "gmac": "GMAC", "images_per_s": "images/s"}


def metric_rows(metrics: dict[str, dict[str, Any]]) -> list[tuple[str, str]]:
    """Scores of a card as rows of text: one for each split, then one for each table inside it."""
    rows = []
    for split, table in metrics.items():
        singles = _scores(table)
        if singles:
            rows.append((_head(split), ", ".join(singles)))
        for name, value in table.items():
            if isinstance(value, dict):
                parts = [f"{key} {score:.3f}" for key, score in value.items() if isinstance(score, int | float)]
                if parts:
                    rows.append((TABLE_NAMES.get(name, _head(name)), ", ".join(parts)))
    return rows


def _head(name: str) -> str:
    """A key as the beginning of a row; names within it stay as they are written."""
    text = name.replace("_", " ")
    return text[:1].upper() + text[1:]


def rival_rows(card: ModelCard) -> list[tuple[str, str]]:
    """The models it was compared with on equal terms, itself among them: scores, then what they cost."""
    own: list[tuple[str, str]] = []
    others: list[tuple[str, str]] = []
    for rival in card.comparison:
        figures = rival.figures
        parts = _scores({key: value for key, value in figures.items() if key not in (*COST_UNITS, "window_px", "runs")})
        if isinstance(runs := figures.get("runs"), int | float) and runs > 1:
            parts.append(f"mean of {runs:.0f} runs")
        for key, unit in COST_UNITS.items():
            if isinstance(value := figures.get(key), int | float):
                parts.append(f"{value:.4g} {unit}")
        if isinstance(device := figures.get("device"), str):
            parts.append(f"on {device.upper()}")
        text = ", ".join(parts)
        if rival.name == card.name:
            own.append(("This model", text))
        else:
            others.append(("Compared with", f"{rival.note or rival.name}: {text}"))
    return own + others


def _scores(figures: dict[str, Any]) -> list[str]:
    """Scores, with their deviation over several runs where there is one."""
    parts = []
    for name, value in figures.items():
        if isinstance(value, float) and not name.endswith("_sd"):
            deviation = figures.get(f"{name}_sd")
            spread = f" \u00b1 {_figure(deviation)}" if isinstance(deviation, float) else ""
            parts.append(f"{METRIC_NAMES.get(name, name.replace('_', ' '))} {_figure(value)}{spread}")
    return parts


def _figure(value: float) -> str:
    """A share with three decimals, a count with four digits."""
    return fmt.significant(value, 4) if value > 1 else f"{value:.3f}"


def resolution_text(card: ModelCard) -> str:
    """Resolution the model was trained at, with its range."""
    if card.gsd_m is None:
        return "any resolution"
    if card.gsd_range_m is None:
        return f"{card.gsd_m:g} m"
    low, high = card.gsd_range_m
    return f"{card.gsd_m:g} m ({low:g} to {high:g} m)"


class CardView(QFrame):
    """Shows a card: title, description and classes at once, the rest in a foldable part."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setProperty("card", True)
        self.title = wrapped("", heading=True)
        self.description = wrapped("", muted=True)
        self.classes = wrapped("")
        self.facts = QLabel()
        self.facts.setTextFormat(Qt.TextFormat.RichText)
        self.facts.setWordWrap(True)
        self.facts.setTextInteractionFlags(
            Qt.TextInteractionFlag.TextSelectableByMouse | Qt.TextInteractionFlag.TextSelectableByKeyboard
        )
        self.section = Section("Model card")
        body = QVBoxLayout(self.section.body)
        body.setContentsMargins(2, 0, 0, 0)
        body.addWidget(self.facts)
        column = QVBoxLayout(self)
        column.setContentsMargins(10, 8, 10, 6)
        column.setSpacing(5)
        for widget in (self.title, self.description, self.classes, self.section):
            column.addWidget(widget)

    def show_card(self, card: ModelCard | None) -> None:
        """Show a card, or that there is none."""
        self.section.setVisible(card is not None)
        if card is None:
            self.title.setText("No model is installed")
            self.description.setText("Choose a checkpoint file (.safetensors) from the list above.")
            self.classes.setText("")
            return
        self.title.setText(card.title)
        self.description.setText(card.description)
        self.description.setVisible(bool(card.description))
        spots = [
            f'<span style="color:{c.color}">\u25a0</span>\u00a0{html.escape(c.name)}'
            for c in card.classes[:SHOWN_CLASSES]
        ]
        left_out = len(card.classes) - len(spots)
        spots += [f"and\u00a0{left_out}\u00a0more"] if left_out else []
        self.classes.setText("&nbsp; ".join(spots))
        self.classes.setToolTip(", ".join(c.name for c in card.classes) if left_out else "")
        self.classes.setAccessibleName("Classes: " + ", ".join(c.name for c in card.classes))
        rows = [
            ("Resolution", resolution_text(card)),
            ("Bands", ", ".join(card.bands)),
            ("Window", f"{card.window_px} px, {card.overlap_px} px overlap, {card.token_count} tokens"),
            *metric_rows(card.metrics),
            *rival_rows(card),
            ("Data", card.data),
            ("Started from", card.started_from or ""),
            ("Taught by", card.taught_by or ""),
            ("Licence", card.licence),
            ("Source", card.source),
        ]
        muted = self.palette().placeholderText().color().name()
        self.facts.setText(
            "<table cellspacing='0' cellpadding='2'>"
            + "".join(
                f"<tr><td style='color:{muted}; padding-right:8px'>{html.escape(name)}</td>"
                f"<td>{html.escape(value)}</td></tr>"
                for name, value in rows
                if value
            )
            + "</table>"
        )
