"""LeMeViT's meta tokens as a tokenizer like any other."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from engine.tokenizers.base import Tokenizer, Tokens
from engine.tokenizers.meta.backbone import MetaBody
from engine.tokenizers.meta.block import Kind


class MetaTokenizer(MetaBody, Tokenizer):
    """Image -> meta tokens behind the last stage, and where they looked.

    The assignment is the attention of the last block in which they look at the image, mean over heads: a distribution
    over cells for each token, one cell for 8 x 8 pixels in the published variants. Where meta tokens never look at the
    image (``vit_tiny``), the tokens are the cells of the last map, each of which claims its own place.

    Args:
        in_channels: Bands of the image.
        depths: Blocks of each stage.
        widths: Channels of each stage.
        kinds: Kind of each stage's blocks: C, D, D2 or S.
        mlp_ratio: Hidden width of the MLPs over their width.
        head_dim: Channels of an attention head.
        token_count: Meta tokens ``M``.
        drop_path_rate: Stochastic depth of the last block; it grows from 0 at the first.
    """

    def __init__(
        self,
        in_channels: int = 3,
        depths: Sequence[int] = (1, 2, 2, 8, 2),
        widths: Sequence[int] = (64, 64, 128, 192, 320),
        kinds: Sequence[Kind] = ("C", "D", "D", "S", "S"),
        mlp_ratio: int = 4,
        head_dim: int = 32,
        token_count: int = 16,
        drop_path_rate: float = 0.0,
    ) -> None:
        super().__init__(in_channels, depths, widths, kinds, mlp_ratio, head_dim, token_count, drop_path_rate)
        self.embed_dim = widths[-1]

    def forward(self, images: Tensor, attention: bool = False) -> Tokens:
        """Tokenize ``[B, C, H, W]``.

        Args:
            images: Normalised floats of any size.
            attention: Whether the attention of each head, ``[B, heads, M, h*w]``, is wanted as well.
        """
        seen = self.perceive(images)
        return seen.tokens(self.norm_c(seen.states), attention=attention)
