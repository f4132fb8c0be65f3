"""LeMeViT written down plainly, operation for operation as the method describes it: the benchmark's yardstick.

Every token set has its projections of its own, heads are brought forward by permutations, attention is a product, a
softmax and a product, batch norms run as they are. Parameter names are the authors', so one state dict fits both.
"""

import math

import torch
from torch import nn

VARIANTS = {
    "lemevit_tiny": ((1, 2, 2, 8, 2), (64, 64, 128, 192, 320), 4, ("C", "D", "D", "S", "S")),
    "lemevit_small": ((1, 2, 2, 6, 2), (96, 96, 192, 320, 384), 4, ("C", "D", "D", "S", "S")),
    "lemevit_base": ((2, 4, 4, 18, 4), (96, 96, 192, 384, 512), 4, ("C", "D", "D", "S", "S")),
    "lemevit_small_v2": ((1, 2, 2, 8, 2), (64, 64, 128, 256, 512), 3, ("C", "D", "D", "S", "S")),
    "lemevit_tiny_v2": ((2, 2, 2, 4, 2), (96, 96, 192, 320, 384), 4, ("C", "D2", "D2", "S", "S")),
    "vit_tiny": ((2, 2, 4, 2), (96, 192, 320, 384), 4, ("S", "S", "S", "S")),
}
HEAD_DIM = 32


class Heads(nn.Module):
    def __init__(self, dim):
        super().__init__()
        self.dim = dim
        self.heads = dim // HEAD_DIM

    def split(self, x, parts):
        b, n, _ = x.shape
        return x.reshape(b, n, parts, self.heads, HEAD_DIM).permute(2, 0, 3, 1, 4).unbind(0)

    def attend(self, q, k, v, scale):
        weights = ((q * scale) @ k.transpose(-2, -1)).softmax(dim=-1)
        out = (weights @ v).transpose(1, 2)
        return out.reshape(out.shape[0], out.shape[1], self.dim)


class Cross(Heads):
    def __init__(self, dim):
        super().__init__(dim)
        self.q = nn.Linear(dim, dim)
        self.kv = nn.Linear(dim, 2 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x, c):
        (q,) = self.split(self.q(c), 1)
        k, v = self.split(self.kv(x), 2)
        return self.proj(self.attend(q, k, v, HEAD_DIM**-0.5))


class Dual(Heads):
    def __init__(self, dim):
        super().__init__(dim)
        self.qkv1 = nn.Linear(dim, 3 * dim)
        self.qkv2 = nn.Linear(dim, 3 * dim)
        self.proj_x = nn.Linear(dim, dim)
        self.proj_c = nn.Linear(dim, dim)

    def forward(self, x, c):
        q1, k1, v1 = self.split(self.qkv1(x), 3)
        q2, k2, v2 = self.split(self.qkv2(c), 3)
        scale_x = math.log(c.shape[1]) / math.log(x.shape[1]) * self.dim**-0.5
        out_x = self.proj_x(self.attend(q1, k2, v2, scale_x))
        out_c = self.proj_c(self.attend(q2, k1, v1, self.dim**-0.5))
        return out_x, out_c


class Dual2(Heads):
    def __init__(self, dim):
        super().__init__(dim)
        self.qv1 = nn.Linear(dim, 2 * dim)
        self.kv2 = nn.Linear(dim, 2 * dim)
        self.proj_x = nn.Linear(dim, dim)
        self.proj_c = nn.Linear(dim, dim)

    def forward(self, x, c):
        q, v1 = self.split(self.qv1(x), 2)
        k, v2 = self.split(self.kv2(c), 2)
        scale_x = math.log(c.shape[1]) / math.log(x.shape[1]) * self.dim**-0.5
        out_x = self.proj_x(self.attend(q, k, v2, scale_x))
        out_c = self.proj_c(self.attend(k, q, v1, self.dim**-0.5))
        return out_x, out_c


class Standard(Heads):
    def __init__(self, dim):
        super().__init__(dim)
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x):
        q, k, v = self.split(self.qkv(x), 3)
        return self.proj(self.attend(q, k, v, HEAD_DIM**-0.5))


KINDS = {"C": Cross, "D": Dual, "D2": Dual2, "S": Standard}


class Block(nn.Module):
    def __init__(self, dim, ratio, kind):
        super().__init__()
        self.kind = kind
        self.pos_embed = nn.Conv2d(dim, dim, 3, padding=1, groups=dim)
        self.norm1 = nn.LayerNorm(dim, eps=1e-6)
        self.attn = KINDS[kind](dim)
        self.norm2 = nn.LayerNorm(dim, eps=1e-6)
        self.mlp = nn.Sequential(nn.Linear(dim, ratio * dim), nn.Identity(), nn.GELU(), nn.Linear(ratio * dim, dim))

    def forward(self, x, c):
        b, d, h, w = x.shape
        original = x
        x = x + self.pos_embed(x)
        x = x.permute(0, 2, 3, 1).reshape(b, h * w, d)
        if self.kind == "C":
            c = c + self.attn(self.norm1(x), self.norm1(c))
            return original, c + self.mlp(self.norm2(c))
        if self.kind == "S":
            x = x + self.attn(self.norm1(x))
            x = x + self.mlp(self.norm2(x))
            c = c + self.attn(self.norm1(c))
            c = c + self.mlp(self.norm2(c))
        else:
            out_x, out_c = self.attn(self.norm1(x), self.norm1(c))
            x = x + out_x
            x = x + self.mlp(self.norm2(x))
            c = c + out_c
            c = c + self.mlp(self.norm2(c))
        return x.reshape(b, h, w, d).permute(0, 3, 1, 2), c


class PlainLemevit(nn.Module):
    """The classifier; logits are a plain tensor."""

    def __init__(self, name, num_classes=1000, queries=16):
        super().__init__()
        depths, dims, ratio, kinds = VARIANTS[name]
        self.meta_tokens = nn.Parameter(torch.randn(queries, dims[0]))
        self.downsample_layers = nn.ModuleList()
        self.meta_token_downsample = nn.ModuleList()
        for i, dim in enumerate(dims):
            before = dims[max(0, i - 1)]
            if i == 0:
                half = dim // 2
                self.downsample_layers.append(
                    nn.Sequential(
                        nn.Conv2d(3, half, 3, 2, 1),
                        nn.BatchNorm2d(half),
                        nn.GELU(),
                        nn.Conv2d(half, dim, 3, 2, 1),
                        nn.BatchNorm2d(dim),
                    )
                )
            elif kinds[i - 1] == "C":
                self.downsample_layers.append(nn.Identity())
            else:
                self.downsample_layers.append(nn.Sequential(nn.Conv2d(before, dim, 3, 2, 1), nn.BatchNorm2d(dim)))
            self.meta_token_downsample.append(
                nn.Sequential(
                    nn.Linear(before, 4 * before),
                    nn.LayerNorm(4 * before),
                    nn.GELU(),
                    nn.Linear(4 * before, dim),
                    nn.LayerNorm(dim),
                )
            )
        self.stages = nn.ModuleList(
            nn.ModuleList(Block(dim, ratio, kind) for _ in range(depth))
            for depth, dim, kind in zip(depths, dims, kinds, strict=True)
        )
        self.norm = nn.BatchNorm2d(dims[-1])
        self.norm_c = nn.LayerNorm(dims[-1])
        self.head = nn.Linear(dims[-1], num_classes)

    def forward(self, images):
        x, c = images, self.meta_tokens.repeat(len(images), 1, 1)
        for down, update, stage in zip(self.downsample_layers, self.meta_token_downsample, self.stages, strict=True):
            x, c = down(x), update(c)
            for block in stage:
                x, c = block(x, c)
        features = self.norm(x).flatten(2).mean(-1) + self.norm_c(c).mean(1)
        return self.head(features)
