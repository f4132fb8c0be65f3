"""Rotated boxes as tensor code: conversions, exact overlap, suppression, RoI align and the coders of Oriented R-CNN.

One convention throughout, that of :mod:`engine.models.rotated.boxes`. Everything runs on any device.
"""
