"""Image -> tokens: modules that turn an image into N tokens and say which token each pixel belongs to.

Every tokenizer returns :class:`~engine.tokenizers.base.Tokens`; everything downstream (class maps,
regions, inspection, export) is written once against that type. Importing this package imports torch.
"""
