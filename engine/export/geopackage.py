"""Styles inside a GeoPackage: the ``layer_styles`` table that QGIS reads before any file beside it.

Guarantees: the table is registered in ``gpkg_contents`` as the standard asks, holds one default style for the
layer, and no journal or write-ahead log is left.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

_TABLE = """
CREATE TABLE layer_styles (
  id INTEGER PRIMARY KEY AUTOINCREMENT NOT NULL,
  f_table_catalog TEXT(256), f_table_schema TEXT(256), f_table_name TEXT(256), f_geometry_column TEXT(256),
  styleName TEXT(30), styleQML TEXT, styleSLD TEXT, useAsDefault BOOLEAN, description TEXT, owner TEXT(30),
  ui TEXT(30), update_time DATETIME DEFAULT (strftime('%Y-%m-%dT%H:%M:%fZ', 'now'))
)
"""


def add_style(path: Path, layer: str, geometry_column: str, qml: str, *, name: str) -> None:
    """Put a style into a GeoPackage as the layer's default.

    Args:
        path: The GeoPackage, closed by everyone else.
        layer: Its table.
        geometry_column: The table's geometry.
        qml: The style as QGIS writes it.
        name: The style's name for people.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(_TABLE)
        connection.execute(
            "INSERT INTO gpkg_contents (table_name, data_type, identifier, description) VALUES (?, ?, ?, ?)",
            ("layer_styles", "attributes", "layer_styles", "Styles that QGIS applies when it opens a layer"),
        )
        connection.execute(
            "INSERT INTO layer_styles (f_table_catalog, f_table_schema, f_table_name, f_geometry_column, styleName, "
            "styleQML, styleSLD, useAsDefault, description, owner) VALUES ('', '', ?, ?, ?, ?, '', 1, '', '')",
            (layer, geometry_column, name[:30], qml),
        )
