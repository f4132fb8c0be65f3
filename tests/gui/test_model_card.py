"""What a model's card says in the window about scores, its own and those of the models beside it."""

from __future__ import annotations

from engine.models.card import CardClass, ModelCard, Rival, Scaling
from rs_viewer.panels.model_card import CardView, metric_rows, rival_rows

FIGURES = {"split": "validation", "miou": 0.632, "tokens": 64.0, "gmac": 0.933, "window_px": 256.0, "device": "cpu"}


def card(**more):
    return ModelCard(
        name="tree",
        title="Land cover (tree)",
        architecture="any",
        config={},
        task="segmentation",
        classes=(CardClass(name="land", color="#112233"), CardClass(name="water", color="#3355ff")),
        bands=("red",),
        scaling=Scaling(divisor=255, mean=(0.5,), std=(0.5,), low=(0,), high=(255,)),
        window_px=64,
        overlap_px=0,
        token_count=64,
        data="Some.",
        licence="Free.",
        source="Here.",
        **{"metrics": {}, **more},
    )


def test_scores_are_rows_by_split_and_by_class():
    metrics = {
        "validation": {"miou": 0.6321, "iou": {"land": 0.5, "water": 0.75}, "accuracy": {"land": 1.0}, "tiles": 9},
        "validation_regions": {"purity": 0.984, "regions_per_mpx": 962.4},
    }
    assert metric_rows(metrics) == [
        ("Validation", "mean IoU 0.632"),
        ("IoU by class", "land 0.500, water 0.750"),
        ("Accuracy by class", "land 1.000"),
        ("Validation regions", "region purity 0.984, regions per mpx 962.4"),
    ]


def test_the_models_it_was_compared_with_come_after_itself(qtbot):
    twin = Rival(name="twin", note="Land cover (twin)", figures={**FIGURES, "miou": 0.621, "images_per_s": 71.24})
    own = Rival(name="tree", note="Land cover (tree)", figures=FIGURES)
    shown = card(comparison=(twin, own))
    assert rival_rows(shown) == [
        ("This model", "mean IoU 0.632, 64 tokens, 0.933 GMAC, on CPU"),
        ("Compared with", "Land cover (twin): mean IoU 0.621, 64 tokens, 0.933 GMAC, 71.24 images/s, on CPU"),
    ]
    view = CardView()
    qtbot.addWidget(view)
    view.show_card(shown)
    assert "Land cover (twin): mean IoU 0.621" in view.facts.text()
    assert rival_rows(card()) == []


def test_runs_with_several_seeds_are_shown_with_their_spread():
    joined = Rival(name="tree", figures={**FIGURES, "miou": 0.632, "miou_sd": 0.0121, "runs": 3.0})
    single = Rival(name="twin", figures={**FIGURES, "miou": 0.621, "miou_sd": None, "runs": 1.0})
    assert rival_rows(card(comparison=(joined, single))) == [
        ("This model", "mean IoU 0.632 \u00b1 0.012, mean of 3 runs, 64 tokens, 0.933 GMAC, on CPU"),
        ("Compared with", "twin: mean IoU 0.621, 64 tokens, 0.933 GMAC, on CPU"),
    ]
