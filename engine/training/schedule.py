"""The learning rate of each step: linear warm-up, then cosines, as HOOK's authors train, lines, or drops to a tenth.

Guarantees, of the cosine: step ``t`` of 1 to ``T`` has the rate ``lr t / W`` while ``t < W`` and
``lr (1 + cos(pi (t - W) / (T - W))) / 2`` after that, so that the last step of the run, and the last before each warm
restart, has exactly the lowest rate; so have all of a cool-down behind it.
"""

from __future__ import annotations

import math

from engine.training.settings import Budget, Optimisation


def learning_rate(optimisation: Optimisation, budget: Budget, step: int) -> float:
    """The rate of a step.

    Args:
        optimisation: Rates and restarts.
        budget: Steps of the run and of its warm-up.
        step: The step, counted from 1.
    """
    o, warmup = optimisation, budget.warmup_steps
    if step < warmup:
        return o.warmup_rate + (o.learning_rate - o.warmup_rate) * step / warmup
    if o.drops:
        return o.learning_rate * 0.1 ** sum(step > epoch * budget.steps_per_epoch for epoch in o.drops)
    starts = [warmup, *(restart.step for restart in o.restarts)]
    peaks = [1.0, *(restart.peak for restart in o.restarts)]
    stops = [*starts[1:], budget.steps - budget.cooldown_steps]
    part = max((i for i, start in enumerate(starts) if start < step), default=0)
    done = min(1.0, (step - starts[part]) / max(1, stops[part] - starts[part]))
    highest = peaks[part] * o.learning_rate
    if o.decline == "linear":
        return highest + (o.min_rate - highest) * done
    return o.min_rate + 0.5 * (highest - o.min_rate) * (1 + math.cos(math.pi * done))
