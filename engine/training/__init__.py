"""Training and evaluation: recipes, data sets, losses and metrics behind ``rs-engine train`` and ``evaluate``.

Training and scoring need the ``train`` extra (Lightning, torchmetrics); reading recipes and drawing what models
perceive do not. Each task (``segmentation``, ``classification``, …) is a package of its own behind the protocol of
:mod:`engine.training.task`. Nothing but the command line imports this package.
"""
