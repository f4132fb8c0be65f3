"""Patch Embed: the grid of square patches every ViT starts from, as a tokenizer like any other.

Guarantees: token ``i`` claims exactly the cells of patch ``i``; images that are no multiple of the patch are padded by
replication; without positions it is exactly the baseline of HOOK's authors, which is blind to the order of patches.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from engine.errors import OptionError
from engine.tokenizers.base import Tokenizer, Tokens
from engine.tokenizers.padding import pad_to_multiple
from engine.tokenizers.position import Interpolation, position_grid


class PatchTokenizer(Tokenizer):
    """Image -> one token for each patch, in raster order (see the module's first lines).

    Args:
        image_size: Edge of the square images the position table is for; without positions any size is alike.
        in_channels: Bands of the image.
        embed_dim: Width of a token.
        patch_size: Edge of a patch in pixels.
        class_token: Whether :meth:`sequence` puts a learned token in front.
        positions: Whether patches get a learned position; the published baseline has none.
        interpolation: How the position table is brought to other sizes.
    """

    def __init__(
        self,
        image_size: int = 224,
        in_channels: int = 3,
        embed_dim: int = 768,
        patch_size: int = 16,
        class_token: bool = False,
        positions: bool = False,
        interpolation: Interpolation = "bicubic",
    ) -> None:
        super().__init__()
        if patch_size < 1 or image_size < patch_size:
            raise OptionError(f"patches of {patch_size} pixels do not fit images of {image_size}")
        self.embed_dim = embed_dim
        self.patch_size = patch_size
        self.edge = -(-image_size // patch_size)
        self.interpolation: Interpolation = interpolation
        if class_token:
            self.cls_token: nn.Parameter | None = nn.Parameter(torch.zeros(1, 1, embed_dim))
        else:
            self.cls_token = None
        if positions:
            self.pos_embed: nn.Parameter | None = nn.Parameter(0.02 * torch.randn(1, self.edge**2, embed_dim))
        else:
            self.pos_embed = None
        self.proj = nn.Conv2d(in_channels, embed_dim, patch_size, stride=patch_size)

    def forward(self, images: Tensor) -> Tokens:
        """Tokenize ``[B, C, H, W]``; the assignment has a cell for every patch, ``ceil(H / patch_size)`` rows."""
        grid = self.proj(pad_to_multiple(images, self.patch_size)).permute(0, 2, 3, 1)
        if self.pos_embed is not None:
            _, h, w, _ = grid.shape
            grid = grid + position_grid(self.pos_embed, self.edge, h, w, self.interpolation)
        return cell_tokens(grid)

    def sequence(self, tokens: Tensor) -> Tensor:
        """What a transformer reads: the tokens ``[B, N, D]``, behind the class token where there is one."""
        if self.cls_token is None:
            return tokens
        return torch.cat((self.cls_token.to(tokens.dtype).expand(len(tokens), -1, -1), tokens), dim=1)


def cell_tokens(grid: Tensor) -> Tokens:
    """Every cell of a grid ``[B, h, w, D]`` as a token that claims this cell and no other."""
    b, h, w, _ = grid.shape
    claims = torch.eye(h * w, device=grid.device).view(1, h * w, h, w).expand(b, -1, -1, -1)
    return Tokens(grid.reshape(b, h * w, -1), claims)
