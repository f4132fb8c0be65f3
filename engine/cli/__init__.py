"""The headless commands: ``rs-engine info``, ``analyse``, ``export`` and the rest.

Guarantees: a command does nothing that the library's six lines cannot; torch and GDAL are imported only by the
command that needs them.
"""
