"""The feature network: what it learns, that it repeats, and that its file gives it back."""

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from sklearn.datasets import load_digits

from latelier.errors import BadInput
from latelier.fidelity import fid, prdc
from latelier.fidelity.extractor import Extractor, digest_of, read_extractor, trained
from latelier.wording import percent

DIGITS = load_digits()
PICTURES = torch.from_numpy((DIGITS.images[:, None] * 15).astype(np.uint8))


@pytest.fixture(scope="module")
def network() -> Extractor:
    return trained(PICTURES, DIGITS.target, steps=150)


def test_labels_are_learnt_and_the_held_out_accuracy_is_told(network):
    assert network.origin.task == "labels" and network.origin.classes == 10
    assert network.origin.accuracy > 0.9
    assert f"{percent(network.origin.accuracy, 1)} held out" in network.name


def test_without_labels_turns_are_learnt():
    turned = trained(PICTURES, steps=150)
    assert turned.origin.task == "turns" and turned.origin.accuracy > 0.6  # a quarter by chance
    one_class = trained(PICTURES[:100], np.zeros(100, np.int64), steps=1)
    assert one_class.origin.task == "turns"


def test_pictures_that_are_not_square_can_be_learnt_from():
    long = PICTURES[:300, :, :5]
    assert trained(long, steps=2).features([long[:3]]).shape == (3, 64)
    tiny = PICTURES[:10, :, :1, :2]
    assert np.isfinite(trained(tiny, steps=2).features([tiny])).all()


def test_the_same_rows_and_seed_give_the_same_network_and_its_file_gives_it_back(tmp_path):
    one, two, other = (trained(PICTURES[:200], steps=3, seed=seed) for seed in (0, 0, 1))
    assert digest_of(one) == digest_of(two) != digest_of(other)
    path = tmp_path / "features.safetensors"
    path.write_bytes(one.packed())
    read = read_extractor(path, (1, 8, 8))
    assert digest_of(read) == digest_of(one) and read.origin == one.origin
    assert (read.features([PICTURES[:40]]) == one.features([PICTURES[:17], PICTURES[17:40]])).all()


def test_rows_without_a_label_are_left_out():
    labels = np.where(np.arange(len(PICTURES)) < 100, DIGITS.target, -1)
    assert trained(PICTURES, labels, steps=1).origin.rows == 90


def test_features_have_mean_0_and_deviation_1_and_tell_digits_from_noise(network):
    half, other = network.features([PICTURES[:900]]), network.features([PICTURES[900:]])
    both = np.concatenate([half, other])
    assert np.abs(both.mean(0)).max() < 0.3 and np.abs(both.std(0) - 1).max() < 0.3
    noise = torch.randint(0, 256, PICTURES[900:].shape, generator=torch.Generator().manual_seed(0))
    assert fid(half, network.features([noise])) > 10 * fid(half, other)
    assert prdc(half, network.features([noise])).coverage < 0.1 < 0.7 < prdc(half, other).coverage


def test_files_that_are_none_of_ours_are_refused_in_a_line(tmp_path, network):
    weights, text = tmp_path / "inception.safetensors", tmp_path / "inception.pth"
    save_file({"a": torch.zeros(3)}, weights)
    text.write_bytes(b"\x80\x02not a network")
    for path in (weights, text):
        with pytest.raises(BadInput, match=f"{path.name}: not a feature network"):
            read_extractor(path, (1, 8, 8))
    ours = tmp_path / "ours.safetensors"
    ours.write_bytes(network.packed())
    with pytest.raises(BadInput, match=f"^{ours}: reads pictures of 1x8x8, and these are 3x8x8"):
        read_extractor(ours, (3, 8, 8))
    with pytest.raises(BadInput, match="too few to train"):
        trained(PICTURES[:1])
