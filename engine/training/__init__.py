"""Training and evaluation: recipes, data sets, losses and metrics behind ``rs-engine train`` and ``evaluate``.

Needs the ``train`` extra (Lightning, torchmetrics). Nothing else in the engine imports this package.
"""
