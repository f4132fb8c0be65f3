"""The task ``classification``: a class for every scene (a picture as a whole)."""
