"""PySide6 must not lose references to None: 6.12.0 dropped one at every void call and aborted after some thousands."""

from __future__ import annotations

import sys

from PySide6.QtCore import QRectF, QTimer
from PySide6.QtGui import QColor, QImage, QPainter
from PySide6.QtWidgets import QWidget

CALLS = 2000
SLACK = 200
"""Other code may hold or drop a few references meanwhile; a fault shows as thousands."""


def test_void_calls_keep_the_references_to_none(qtbot):
    widget = QWidget()
    qtbot.addWidget(widget)
    timer = QTimer(widget)
    image = QImage(16, 16, QImage.Format.Format_RGB32)
    color = QColor(1, 2, 3)
    before = sys.getrefcount(None)
    for i in range(CALLS):
        widget.update()
        widget.setToolTip(str(i))
        widget.resize(100 + i % 2, 100)
        timer.setInterval(i + 1)
        image.fill(color)
        painter = QPainter(image)
        painter.setOpacity(0.5)
        painter.fillRect(QRectF(0, 0, 4, 4), color)
        painter.end()
    drift = sys.getrefcount(None) - before
    if sys.version_info < (3, 12):  # None is immortal from 3.12 on
        assert abs(drift) < SLACK, f"{drift} references to None after {8 * CALLS} void calls"
    else:
        assert drift == 0
