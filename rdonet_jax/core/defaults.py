"""Names and limits that hold where nobody gives others.

This module imports nothing, so that the help of the command line can name them at once.
"""

from __future__ import annotations

DEFAULT_MODEL = "standard"
"""The bundled model that compresses."""

DEFAULT_CODER = "constriction"
"""The range coder of new files."""

COMPRESSED_SUFFIX = ".rdo"
"""The suffix of compressed files."""

MAX_PIXELS = 2**27
"""Pixels of the largest image that is written, and that is read unless the caller allows more."""

IMAGE_SUFFIX = ".png"
"""The suffix of restored images."""

ENGINES = ("auto", "numpy", "jax")
"""What can compute a model, see `rdonet_jax.codec.engine_choice`."""

DEFAULT_ENGINE = ENGINES[0]

SEARCH_TRIALS = 4
"""Evaluations of a pass of the search in which changes are tried, at most."""

MAX_REFINEMENTS = 10_000
"""Iterations of latent refinement, at most."""

DEFAULT_ROI_GAIN = 25.0
"""Points of quality by which a box of an image is better, if nobody says by how many."""

MAX_METADATA = 2**24
"""Bytes of an ICC profile, of EXIF data or of XMP, uncompressed."""
