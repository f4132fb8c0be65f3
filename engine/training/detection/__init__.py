"""The task ``detection``: rotated boxes with classes."""
