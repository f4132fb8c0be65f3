"""Quadtree tokenization: small patches where there is something to see, large ones elsewhere (mixed resolution).

After Ronen et al. 2023, "Vision Transformers with Mixed-Resolution Tokenization" (arXiv 2304.00287), written anew. A
scorer says how little there is to see in each patch, at every size; :func:`run` starts from the largest patches and
always cuts the one with the lowest score into four, until ``num_patches`` are reached.

The one rule for ties, which every runner keeps: *the lowest score first; among equal scores the larger patch, then the
upper, then the left one.* Scores may be infinite: minus infinity is cut first, plus infinity last, when nothing else is
left (what a scorer gives to patches without data). NaN is refused.

Images may have any height and width. Where the last row and column of largest patches hang over the edge, cutting them
makes patches that lie wholly outside; those count in ``num_patches`` (a cut always adds three, in every image of a
batch), are never cut, hold no pixel and take part in nothing that follows.
"""

from engine.tokenizers.quadtree.blur import BandBlur, BandStatistics, PixelBlur
from engine.tokenizers.quadtree.features import FeatureBased
from engine.tokenizers.quadtree.gradcam import GradCam
from engine.tokenizers.quadtree.importance import Precomputed, Random
from engine.tokenizers.quadtree.layout import Layout, patch_sizes
from engine.tokenizers.quadtree.patches import Patches
from engine.tokenizers.quadtree.render import Style, render
from engine.tokenizers.quadtree.reverse import patch_index, reverse
from engine.tokenizers.quadtree.scores import Scorer, Scores
from engine.tokenizers.quadtree.shufflenet import load_shufflenet
from engine.tokenizers.quadtree.tokenizer import QuadtreeTokenizer, QuadtreeTokens, VanillaTokenizer
from engine.tokenizers.quadtree.tree import Runner, run, tokenize

__all__ = [
    "BandBlur",
    "BandStatistics",
    "FeatureBased",
    "GradCam",
    "Layout",
    "Patches",
    "PixelBlur",
    "Precomputed",
    "QuadtreeTokenizer",
    "QuadtreeTokens",
    "Random",
    "Runner",
    "Scorer",
    "Scores",
    "Style",
    "VanillaTokenizer",
    "load_shufflenet",
    "patch_index",
    "patch_sizes",
    "render",
    "reverse",
    "run",
    "tokenize",
]
