"""What changed between two scenes: pairs of windows through a model, their probabilities as a map and as polygons."""
