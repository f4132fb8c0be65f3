import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.training.schedule import learning_rate
from engine.training.settings import Optimisation, Restart


def _rates(optimisation: Optimisation, samples: int = 0) -> list[float]:
    budget = optimisation.budget(samples)
    return [learning_rate(optimisation, budget, step) for step in range(1, budget.steps + 1)]


@given(st.integers(1, 300), st.integers(0, 60))
def test_the_rate_is_the_published_one(steps: int, warmup: int) -> None:
    warmup = min(warmup, steps - 1)
    rates = _rates(Optimisation(steps=steps, warmup_steps=warmup, learning_rate=2e-4))
    for t, rate in enumerate(rates, start=1):
        if t < warmup:
            assert rate == pytest.approx(2e-4 * t / warmup)
        else:
            assert rate == pytest.approx(1e-4 * (1 + math.cos(math.pi * (t - warmup) / (steps - warmup))), abs=1e-15)
    assert rates[-1] == 0.0


def test_every_restart_begins_high_after_a_rate_of_zero() -> None:
    restart = Restart(step=60, peak=0.5)
    rates = _rates(Optimisation(steps=100, warmup_steps=10, learning_rate=1.0, restarts=(restart,)))
    assert rates[9] == 1.0
    assert rates[59] == 0.0
    assert rates[60] == pytest.approx(0.5, rel=0.01)
    assert rates[99] == 0.0


def test_a_cool_down_stays_at_the_lowest_rate() -> None:
    plain = Optimisation(epochs=4, batch=10, warmup_epochs=1, learning_rate=1.0, min_rate=0.1)
    cooled = plain.model_copy(update={"cooldown_epochs": 2})
    assert _rates(cooled, samples=100) == _rates(plain, samples=100) + [0.1] * 20
    assert cooled.budget(100).epochs == 6


def test_lowest_and_first_rates_are_kept() -> None:
    settings = Optimisation(steps=50, warmup_steps=10, learning_rate=1.0, min_rate=0.1, warmup_rate=0.2)
    rates = _rates(settings)
    assert rates[0] == pytest.approx(0.28)
    assert min(rates[9:]) == rates[-1] == pytest.approx(0.1)


def test_a_budget_in_epochs_counts_the_last_small_batch() -> None:
    budget = Optimisation(epochs=100, batch=32, warmup_epochs=10).budget(6300)
    assert (budget.steps_per_epoch, budget.steps, budget.warmup_steps) == (197, 19_700, 1_970)
    assert budget.samples_per_epoch == 6300
    assert budget.epochs == 100


@pytest.mark.parametrize("both", [{}, {"steps": 3, "epochs": 3}])
def test_a_budget_is_given_once(both: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="either steps or epochs"):
        Optimisation(**both)
