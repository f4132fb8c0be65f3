"""LeMeViT's tokenizer: learned meta tokens that summarise an image and replace most of its self-attention.

Jiang et al. 2024, "LeMeViT: Efficient Vision Transformer with Learnable Meta Tokens for Remote Sensing Image
Interpretation" (arXiv 2405.09789). Parameter names are the authors', so their weights load as they are.
"""
