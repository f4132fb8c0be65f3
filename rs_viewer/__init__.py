"""The window: shows what the engine computes; never touches torch or GDAL itself."""
