"""Checkpoints: what is saved comes back, what is damaged, foreign or pickled is refused with a sentence."""

import json
import struct
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from engine.errors import CardError, CheckpointError, EngineWarning, ModelNotFoundError, OutputError
from engine.models import catalog, create, find_model, list_models, load_checkpoint, read_card, save_checkpoint
from engine.models.card import CardClass, ModelCard, Scaling
from engine.models.checkpoint import CARD_KEY, CHECKSUM_KEY, sha256

CONFIG = {"num_classes": 3, "image_size": 32, "seed_dim": 16, "token_count": 3, "embed_dim": 16, "depth": 2}
CONFIG |= {"num_heads": 2, "stem_widths": (4, 8, 8), "dense_channels": (4, 4, 8, 8), "head_dim": 8}
CONFIG |= {"out_layers": (0, 0, 1, 1)}


def make_card(**changes):
    card = ModelCard(
        name="tiny",
        title="Tiny",
        architecture="hook_segmenter",
        config=CONFIG,
        task="segmentation",
        classes=tuple(CardClass(name=name, color="#102030") for name in ("a", "b", "c")),
        bands=("red", "green", "blue"),
        scaling=Scaling(divisor=255, mean=(0.5,) * 3, std=(0.2,) * 3, low=(0,) * 3, high=(255,) * 3),
        window_px=32,
        overlap_px=8,
        token_count=3,
        data="none",
        metrics={"validation": {"miou": 0.5}},
        licence="CC0",
        source="a test",
    )
    return card.model_copy(update=changes)


@pytest.fixture(scope="module")
def module():
    torch.manual_seed(3)
    return create("hook_segmenter", **CONFIG).eval()


@pytest.fixture
def checkpoint(tmp_path, module):
    path = tmp_path / "tiny.safetensors"
    save_checkpoint(path, module, make_card())
    return path


def rewrite(path, *, tensors=None, **header):
    """Write the file anew with other tensors or header entries; None drops an entry."""
    from safetensors import safe_open

    with safe_open(str(path), framework="np") as file:
        old = file.metadata()
    new = {key: value for key, value in (old | header).items() if value is not None}
    save_file(tensors if tensors is not None else load_file(path), str(path), metadata=new)


def test_saved_model_comes_back_the_same(checkpoint, module):
    loaded, card = load_checkpoint(checkpoint)
    assert not loaded.training
    assert {**card.config, "x": 0} == {**card.config, **json.loads(json.dumps(CONFIG)), "x": 0}
    for (key, before), (other, after) in zip(module.state_dict().items(), loaded.state_dict().items(), strict=True):
        assert key == other
        assert torch.equal(before, after)
    images = torch.rand(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(module(images).logits, loaded(images).logits)


def test_card_keeps_defaults_of_the_architecture(checkpoint):
    assert read_card(checkpoint).config["temperature"] == 1.0
    assert "temperature" not in CONFIG


def test_loading_leaves_the_random_state_alone(checkpoint):
    torch.manual_seed(11)
    expected = torch.rand(4)
    torch.manual_seed(11)
    load_checkpoint(checkpoint)
    assert torch.equal(torch.rand(4), expected)


def test_one_flipped_bit_is_noticed(checkpoint):
    raw = bytearray(checkpoint.read_bytes())
    raw[-101] ^= 4
    checkpoint.write_bytes(raw)
    assert read_card(checkpoint).name == "tiny"
    with pytest.raises(CheckpointError, match="checksum"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("kept", [0, 5, 200, 0.5, -1])
def test_truncated_file_is_refused(checkpoint, kept):
    raw = checkpoint.read_bytes()
    checkpoint.write_bytes(raw[: int(len(raw) * kept) if isinstance(kept, float) else kept])
    for use in (read_card, load_checkpoint):
        with pytest.raises(CheckpointError, match=r"tiny\.safetensors") as caught:
            use(checkpoint)
        assert caught.value.remedy


def test_foreign_file_is_refused(checkpoint):
    rewrite(checkpoint, **{CARD_KEY: None})
    with pytest.raises(CheckpointError, match="no model card"):
        read_card(checkpoint)


def test_text_file_is_refused(tmp_path):
    path = tmp_path / "notes.safetensors"
    path.write_text("these are not the weights you are looking for")
    with pytest.raises(CheckpointError, match="damaged"):
        load_checkpoint(path)


def test_missing_file_and_folder_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="does not exist"):
        read_card(tmp_path / "none.safetensors")
    with pytest.raises(CheckpointError, match="folder"):
        read_card(tmp_path)


class Evil:
    def __reduce__(self):
        return (Path("evil-ran").touch, ())


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors", "weights"])
def test_pickles_are_refused_unopened(tmp_path, monkeypatch, name, zipped):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    torch.save({"a": torch.ones(2), "b": Evil()}, path, _use_new_zipfile_serialization=zipped)
    for use in (read_card, load_checkpoint, lambda p: find_model(p)):
        with pytest.raises(CheckpointError, match=r"rs-engine convert .*--model NAME -o"):
            use(path)
    assert not (tmp_path / "evil-ran").exists()


def test_header_of_640_bytes_is_no_pickle(tmp_path):
    """Its length begins with the bytes of a pickle of protocol 2."""
    path = tmp_path / "a.safetensors"
    entry = '{"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = (entry + " " * (639 - len(entry)) + "}").encode()
    path.write_bytes(struct.pack("<Q", 640) + header + b"\0\0\0\0")
    assert path.read_bytes()[:2] == b"\x80\x02"
    with pytest.raises(CheckpointError, match="no model card"):
        read_card(path)


@pytest.mark.parametrize("fault", ["missing", "shape", "kind", "unknown"])
def test_every_tensor_is_verified(checkpoint, fault):
    from engine.models.checkpoint import _checksum

    tensors = load_file(checkpoint)
    key = "taskHead.linear_pred.bias"
    if fault == "missing":
        del tensors[key]
    elif fault == "shape":
        tensors[key] = torch.zeros(4)
    elif fault == "kind":
        tensors[key] = torch.zeros(3, dtype=torch.int64)
    else:
        tensors["taskHead.extra"] = torch.zeros(1)
    rewrite(checkpoint, tensors=tensors, **{CHECKSUM_KEY: _checksum(tensors.items())})
    with pytest.raises(CheckpointError, match=r"taskHead\.(linear_pred\.bias|extra)"):
        load_checkpoint(checkpoint)


@pytest.mark.parametrize("change", [{"depth": "deep"}, {"depht": 3}, {"num_heads": 3}])
def test_card_that_builds_nothing_is_refused(checkpoint, change):
    card = read_card(checkpoint)
    rewrite(checkpoint, **{CARD_KEY: card.model_copy(update={"config": card.config | change}).model_dump_json()})
    with pytest.raises(CheckpointError, match="cannot be built"):
        load_checkpoint(checkpoint)


def test_newer_card_is_refused(checkpoint):
    raw = json.loads(read_card(checkpoint).model_dump_json()) | {"schema_version": 99}
    rewrite(checkpoint, **{CARD_KEY: json.dumps(raw)})
    with pytest.raises(CardError, match="schema version 99"):
        read_card(checkpoint)


def test_save_refuses_a_card_of_another_model(tmp_path, module):
    card = make_card(config=CONFIG | {"depth": 3})
    with pytest.raises(CheckpointError, match="missing"):
        save_checkpoint(tmp_path / "x.safetensors", module, card)
    assert not list(tmp_path.iterdir())


def test_save_refuses_weights_that_are_not_finite(tmp_path):
    module = create("hook_segmenter", **CONFIG)
    with torch.no_grad():
        module.tokenizer.query[0, 0] = float("nan")
    with pytest.raises(CheckpointError, match=r"tokenizer\.query holds values that are not finite"):
        save_checkpoint(tmp_path / "x.safetensors", module, make_card())


def test_failed_save_leaves_the_old_file_and_no_other(checkpoint, module, monkeypatch):
    before = checkpoint.read_bytes()

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("engine.models.checkpoint.os.fsync", full)
    with pytest.raises(OutputError, match="No space left"):
        save_checkpoint(checkpoint, module, make_card())
    assert checkpoint.read_bytes() == before
    assert list(checkpoint.parent.iterdir()) == [checkpoint]


def test_save_below_a_file_is_one_sentence(tmp_path, module):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OutputError, match="cannot be written"):
        save_checkpoint(tmp_path / "file" / "x.safetensors", module, make_card())
    with pytest.raises(OutputError, match=r"Write to x\.safetensors"):
        save_checkpoint(tmp_path / "x.pth", module, make_card())


def test_saving_twice_gives_the_same_bytes(checkpoint, module):
    first = sha256(checkpoint)
    for _ in range(5):
        save_checkpoint(checkpoint, module, make_card())
        assert sha256(checkpoint) == first


@pytest.fixture
def folders(tmp_path, monkeypatch, module):
    """A shipped and a user's model folder, each with a model, the user's with a damaged file too."""
    shipped, user = tmp_path / "resources" / "models", tmp_path / "user" / "models"
    save_checkpoint(shipped / "tiny.safetensors", module, make_card(title="shipped"))
    save_checkpoint(user / "tiny.safetensors", module, make_card(title="shadow"))
    save_checkpoint(user / "own.safetensors", module, make_card(name="own-model"))
    (user / "broken.safetensors").write_bytes(b"broken")
    monkeypatch.setattr(catalog, "resources_dir", lambda: tmp_path / "resources")
    monkeypatch.setattr(catalog, "user_models_dir", lambda: user)
    return tmp_path


def test_the_model_taken_by_default_is_listed_first():
    assert catalog.list_models()[0].name == catalog.DEFAULT_MODEL


def test_catalog_lists_shipped_models_first_and_reports_damage(folders):
    with pytest.warns(EngineWarning, match=r"broken\.safetensors"):
        models = list_models()
    assert [(info.name, info.card.title) for info in models] == [("tiny", "shipped"), ("own-model", "Tiny")]


def test_models_are_found_by_name_stem_and_path(folders):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert find_model("tiny").card.title == "shipped"
        assert find_model("own").name == "own-model"
        path = folders / "user" / "models" / "tiny.safetensors"
        assert find_model(path).card.title == find_model(str(path)).card.title == "shadow"
        with pytest.raises(CheckpointError, match="damaged"):
            find_model("broken")
        with pytest.raises(ModelNotFoundError, match=r"Did you mean own-model\? Models are tiny, own-model"):
            find_model("own-modle")
        with pytest.raises(ModelNotFoundError, match="no such checkpoint"):
            find_model("nowhere/x.safetensors")


def test_cards_are_read_without_torch(checkpoint):
    program = (
        "import sys, engine.models, engine.models.catalog, engine.models.card\n"
        f"card = engine.models.read_card({str(checkpoint)!r})\n"
        "engine.models.list_models()\n"
        "assert 'torch' not in sys.modules, 'torch was imported'\n"
        "print(card.name)"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run([sys.executable, "-c", program], cwd=root, capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "tiny", done.stderr
