"""LeMeViT through timm: the same numbers, and timm's ways of taking a model apart."""

import pytest
import torch

from engine.models import create
from engine.tokenizers.meta.variants import VARIANTS

try:
    import timm

    import engine.models.timm
except ImportError as error:
    pytest.skip(f"timm cannot be imported (extra `timm`): {error}", allow_module_level=True)


def test_every_variant_is_registered():
    assert all(timm.is_model(name) for name in VARIANTS)


@pytest.mark.parametrize("name", ["lemevit_tiny", "vit_tiny"])
def test_a_timm_model_is_ours_with_other_manners(name):
    ours = create(name, num_classes=7).eval()
    model = timm.create_model(name, num_classes=7).eval()
    model.load_state_dict(ours.state_dict())
    images = torch.rand(2, 3, 70, 64)
    with torch.inference_mode():
        expected = ours(images)
        torch.testing.assert_close(model(images), expected.logits, rtol=1e-4, atol=1e-5)
        pre_logits = model.forward_head(model.forward_features(images), pre_logits=True)
        torch.testing.assert_close(pre_logits, expected.features, rtol=1e-4, atol=1e-5)
    assert model.get_classifier().out_features == model.num_classes == 7


@pytest.mark.parametrize("indices", [(0, 1, 2, 3), (1, 2), (0,), (-1,)])
def test_features_are_the_dense_maps(indices):
    dense = create("lemevit_tiny_dense").eval()
    model = timm.create_model("lemevit_tiny", features_only=True, out_indices=indices).eval()
    weights = {f"model.{key}": value for key, value in dense.state_dict().items()}
    assert not model.load_state_dict(weights, strict=False).missing_keys
    images = torch.rand(1, 3, 64, 48)
    with torch.inference_mode():
        expected, found = dense(images), model(images)
    assert model.feature_info.channels() == [dense.channels[i] for i in indices]
    assert model.feature_info.reduction() == [dense.strides[i] for i in indices]
    assert len(found) == len(indices)
    assert all(torch.equal(maps, expected[i]) for maps, i in zip(found, indices, strict=True))


def test_a_head_can_be_changed_and_left_out():
    model = timm.create_model("lemevit_tiny", num_classes=5, in_chans=4, drop_rate=0.2, drop_path_rate=0.1)
    images = torch.rand(2, 4, 48, 48)
    assert model(images).shape == (2, 5)
    model.reset_classifier(9)
    assert model(images).shape == (2, 9)
    model.reset_classifier(0)
    assert model(images).shape == (2, model.num_features)
    with pytest.raises(ValueError, match="does not pool by 'max'"):
        model.reset_classifier(3, "max")
    with pytest.raises(ValueError, match="not to be had"):
        model.forward_intermediates(images, norm=True)


def test_timm_decays_matrices_and_meta_tokens_alone():
    from timm.optim import param_groups_weight_decay

    model = timm.create_model("lemevit_tiny", num_classes=5)
    still, decayed = param_groups_weight_decay(model, 0.05, no_weight_decay_list=model.no_weight_decay())
    assert still["weight_decay"] == 0.0
    assert all(p.ndim <= 1 for p in still["params"])
    assert any(p is model.meta_tokens for p in decayed["params"])


def test_layers_are_grouped_from_stem_to_norm():
    from timm.optim import param_groups_layer_decay

    groups = param_groups_layer_decay(timm.create_model("lemevit_tiny", num_classes=5), layer_decay=0.5)
    scales = sorted({group["lr_scale"] for group in groups})
    assert scales[-1] == 1.0
    assert len(scales) > sum(VARIANTS["lemevit_tiny"]["depths"])


def test_the_module_says_what_the_models_were_trained_with():
    config = timm.get_pretrained_cfg("lemevit_small")
    assert (config.crop_pct, config.input_size, config.classifier) == (0.875, (3, 224, 224), "head")
    assert engine.models.timm.TimmLemevit.__doc__
