"""Downloaded weights become checkpoints of ours; what is not weights is refused."""

import pytest
import torch

from engine.errors import CardError, CheckpointError, OptionError
from engine.models import create, load_checkpoint, load_model, read_card
from engine.models.card import CardClass
from engine.models.convert import convert, infer_config, read_state_dict

SMALL = {"image_size": 32, "seed_dim": 16, "token_count": 3, "embed_dim": 64, "depth": 4, "stem_widths": (4, 8, 8)}
DENSE = {"dense_channels": (4, 6, 8, 10), "head_dim": 8}
MODELS = {
    "hook_classifier": {"num_classes": 7, "num_heads": 1, **SMALL},
    "hook_segmenter": {"num_classes": 5, "num_heads": 1, **SMALL, **DENSE},
    "patch_classifier": {"num_classes": 7, "num_heads": 1, "embed_dim": 64, "depth": 4, "patch_size": 8},
    "patch_segmenter": {"num_classes": 5, "num_heads": 1, "embed_dim": 64, "depth": 4, "patch_size": 8, **DENSE},
}
LEMEVIT = {"lemevit_tiny": {"num_classes": 4}, "upernet_lemevit_tiny": {"num_classes": 5}, "bit_lemevit_tiny": {}}


def reference_weights(name):
    """A model and its weights as the authors' code would name them."""
    torch.manual_seed(1)
    model = create(name, **MODELS[name]).eval()
    weights = dict(model.state_dict())
    if name == "patch_classifier":
        number = {"tokenizer": "0", "backbone": "1", "taskHead": "2"}
        weights = {f"{number[k.split('.')[0]]}.{k.partition('.')[2]}": v for k, v in weights.items()}
    return model, weights


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("wrap", [None, "state_dict", "module"])
def test_converted_model_gives_the_same_numbers(tmp_path, name, wrap):
    model, weights = reference_weights(name)
    content = weights
    if wrap == "module":
        content = {"model": {f"module.{k}": v for k, v in weights.items()}, "epoch": 99}
    elif wrap:
        content = {wrap: weights}
    torch.save(content, tmp_path / "Authors v1.pth")
    card = convert(tmp_path / "Authors v1.pth", name, tmp_path / "out.safetensors")
    loaded, read = load_checkpoint(tmp_path / "out.safetensors")
    assert card.name == read.name == "authors-v1"
    assert read.task == ("segmentation" if name.endswith("segmenter") else "classification")
    assert "Authors v1.pth" in read.source
    assert read.token_count > 0
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(model(images).logits, loaded(images).logits)


@pytest.mark.parametrize("name", LEMEVIT)
def test_converted_lemevit_gives_the_same_numbers(tmp_path, name):
    torch.manual_seed(1)
    model = create(name, **LEMEVIT[name]).eval()
    torch.save({"state_dict": model.state_dict(), "meta": {"epoch": 3}}, tmp_path / "a.pth")
    card = convert(tmp_path / "a.pth", name, tmp_path / "a.safetensors")
    loaded = load_model(tmp_path / "a.safetensors")
    images = [torch.rand(1, 3, 64, 64) for _ in range(2 if name.startswith("bit") else 1)]
    with torch.inference_mode():
        torch.testing.assert_close(loaded(*images).logits, model(*images).logits, rtol=1e-4, atol=1e-4)
    known = {
        "lemevit_tiny": ("classification", 224, 16, "class 1", 255),
        "upernet_lemevit_tiny": ("segmentation", 512, 16, "Impervious surfaces", 255),
        "bit_lemevit_tiny": ("change", 256, 8, "Unchanged", 1),
    }
    found = (card.task, card.window_px, card.token_count, card.classes[0].name, card.scaling.divisor)
    assert found == known[name]
    assert card.config["widths"] == [64, 64, 128, 192, 320]


def test_lemevit_weights_of_something_else_are_named(tmp_path):
    _, weights = reference_weights("hook_classifier")
    torch.save(weights, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="not those of a lemevit_tiny: the layer that names classes is missing"):
        convert(tmp_path / "a.pt", "lemevit_tiny", tmp_path / "o.safetensors")
    torch.save(create("lemevit_tiny", num_classes=3).state_dict(), tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="Is this really a lemevit_small"):
        convert(tmp_path / "a.pt", "lemevit_small", tmp_path / "o.safetensors")


def test_shapes_tell_the_whole_published_configuration():
    with torch.device("meta"):
        weights = create("hook_segmenter", num_classes=5).state_dict()
    config = infer_config("hook_segmenter", weights, where="here")
    assert config == {
        "image_size": 512,
        "in_channels": 3,
        "seed_dim": 512,
        "token_count": 8,
        "embed_dim": 768,
        "depth": 12,
        "num_heads": 12,
        "num_classes": 5,
        "out_layers": (2, 5, 9, 11),
        "dense_size": 32,
        "dense_channels": (128, 256, 512, 512),
        "head_dim": 256,
        "stem_widths": (64, 128, 256),
    }


def test_positions_of_the_fair_baseline_are_seen(tmp_path):
    model = create("patch_classifier", **MODELS["patch_classifier"], image_size=48, positions=True)
    torch.save(model.state_dict(), tmp_path / "a.pt")
    card = convert(tmp_path / "a.pt", "patch_classifier", tmp_path / "a.safetensors")
    assert (card.config["positions"], card.config["image_size"]) == (True, 48)


def test_what_is_given_overrides_what_is_read(tmp_path):
    _, weights = reference_weights("hook_segmenter")
    torch.save(weights, tmp_path / "a.pt")
    convert(
        tmp_path / "a.pt",
        "hook_segmenter",
        tmp_path / "a.safetensors",
        classes=["v", "w", "x", "y", CardClass(name="z", color="#010203")],
        config={"num_heads": 4, "out_layers": [0, 1, 2, 3]},
        fields={"name": "mine", "gsd_m": 4.0, "licence": "MIT"},
    )
    card = read_card(tmp_path / "a.safetensors")
    assert (card.name, card.gsd_m, card.licence) == ("mine", 4.0, "MIT")
    assert card.config["num_heads"] == 4
    assert [c.name for c in card.classes] == list("vwxyz")
    assert card.classes[4].color == "#010203"
    assert load_model(tmp_path / "a.safetensors").module.backbone.out_layers == (0, 1, 2, 3)


def test_five_classes_of_a_segmenter_are_those_of_gid(tmp_path):
    _, weights = reference_weights("hook_segmenter")
    torch.save(weights, tmp_path / "a.pt")
    card = convert(tmp_path / "a.pt", "hook_segmenter", tmp_path / "a.safetensors")
    assert [c.name for c in card.classes] == ["Built-up", "Farmland", "Forest", "Meadow", "Water"]
    assert len({c.color for c in card.classes}) == 5


def test_wrong_architecture_and_options_are_named(tmp_path):
    _, weights = reference_weights("patch_segmenter")
    path = tmp_path / "a.pt"
    torch.save(weights, path)
    with pytest.raises(CheckpointError, match=r"not those of a hook_segmenter: tokenizer\.pos_embed is missing"):
        convert(path, "hook_segmenter", tmp_path / "o.safetensors")
    with pytest.raises(OptionError, match="no published weights"):
        convert(path, "hook_competitive_segmenter", tmp_path / "o.safetensors")
    with pytest.raises(OptionError, match="2 class names were given for 5"):
        convert(path, "patch_segmenter", tmp_path / "o.safetensors", classes=["a", "b"])
    with pytest.raises(CardError, match="no field 'colour'"):
        convert(path, "patch_segmenter", tmp_path / "o.safetensors", fields={"colour": 1})
    assert not (tmp_path / "o.safetensors").exists()


def test_odd_tensors_are_named(tmp_path):
    _, weights = reference_weights("hook_classifier")
    torch.save(weights | {"tokenizer.cls_token": torch.zeros(1, 1, 64)}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"tokenizer\.cls_token is unknown.*Is this really a hook_classifier"):
        convert(tmp_path / "a.pt", "hook_classifier", tmp_path / "o.safetensors")


class Evil:
    def __reduce__(self):
        return (print, ("evil ran",))


def test_code_in_a_pickle_never_runs(tmp_path, capsys):
    _, weights = reference_weights("hook_classifier")
    torch.save(weights | {"evil": Evil()}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match="cannot be opened as plain weights"):
        convert(tmp_path / "a.pt", "hook_classifier", tmp_path / "o.safetensors")
    assert "evil" not in capsys.readouterr().out


@pytest.mark.parametrize("content", [b"", b"hello, world, this is text", b"\x80\x02garbage and more garbage"])
def test_files_that_are_no_weights_are_refused(tmp_path, content):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        read_state_dict(path)
    torch.save({"epoch": 3}, path)
    with pytest.raises(CheckpointError, match="holds no weights"):
        read_state_dict(path)
    with pytest.raises(CheckpointError, match="does not exist"):
        read_state_dict(tmp_path / "b.pt")
