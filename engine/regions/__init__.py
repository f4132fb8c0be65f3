"""Token maps of overlapping windows -> regions: merged across windows, measured, drawn as polygons."""
