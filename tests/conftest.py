"""What all tests share: properties are checked without a stopwatch, for machines are noisy."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
