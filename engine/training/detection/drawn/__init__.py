"""Drawn scenes: ships, planes, vehicles, tanks and courts with known boxes, on drawn or real ground."""
