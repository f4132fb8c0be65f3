"""Objects in a scene of any size: windows through a detector, borders settled, oriented polygons measured."""
