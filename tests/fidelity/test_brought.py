"""A feature network that somebody brings as an ONNX file: the features are those of the graph, whatever form it asks for."""

from pathlib import Path

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper
from torch import Tensor
from torch.nn import functional as F

from latelier.errors import BadInput
from latelier.fidelity.brought import Brought
from latelier.fidelity.extractor import features_of

RANDOM = np.random.default_rng(0)
WEIGHT = RANDOM.normal(size=(5, 3, 3, 3)).astype(np.float32)
PICTURES = torch.from_numpy(RANDOM.integers(0, 256, (7, 3, 8, 8), dtype=np.uint8))


def written(
    path: Path, dims: tuple[object, ...] = ("n", 3, 8, 8), levels: bool = False, weight: np.ndarray = WEIGHT
) -> Path:
    """A convolution and the mean of each of its maps."""
    kind = TensorProto.UINT8 if levels else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["f", "w"], ["h"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["h"], ["a"]),
        helper.make_node("GlobalAveragePool", ["a"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "features",
        [helper.make_tensor_value_info("x", kind, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [helper.make_tensor("w", TensorProto.FLOAT, weight.shape, weight.flatten())],
    )
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    return path


def flat(path: Path) -> Path:
    """A network of rows of numbers."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2, 3)) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "flat", values[:1], values[1:])
    opset = [helper.make_opsetid("", 17)]
    path.write_bytes(helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString())
    return path


def by_torch(pictures: Tensor, weight: np.ndarray = WEIGHT) -> np.ndarray:
    return F.conv2d(pictures, torch.from_numpy(weight), padding=1).relu().mean((2, 3)).double().numpy()


def test_features_are_those_of_the_graph_in_any_batch(tmp_path):
    network = Brought(written(tmp_path / "net.onnx"), (3, 8, 8))
    expected = by_torch(PICTURES / 255)
    np.testing.assert_allclose(features_of(network, [PICTURES]), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(features_of(network, [PICTURES[:2], PICTURES[2:]]), expected, rtol=1e-4, atol=1e-5)
    assert network.name == "net.onnx, 5 features"


def test_a_graph_for_a_fixed_number_of_rows_gets_so_many(tmp_path):
    network = Brought(written(tmp_path / "net.onnx", (4, 3, 8, 8)), (3, 8, 8))
    np.testing.assert_allclose(features_of(network, [PICTURES]), by_torch(PICTURES / 255), rtol=1e-4, atol=1e-5)


def test_a_graph_of_levels_gets_levels(tmp_path):
    network = Brought(written(tmp_path / "net.onnx", levels=True), (3, 8, 8))
    np.testing.assert_allclose(features_of(network, [PICTURES]), by_torch(PICTURES.float()), rtol=1e-4)


def test_grey_pictures_become_three_channels_of_the_size_that_is_asked_for(tmp_path):
    network = Brought(written(tmp_path / "net.onnx", ("n", 3, 12, 16)), (1, 8, 8))
    grey = PICTURES[:, :1]
    larger = F.interpolate(grey / 255, (12, 16), mode="bilinear", antialias=True).expand(-1, 3, -1, -1)
    np.testing.assert_allclose(features_of(network, [grey]), by_torch(larger), rtol=1e-4, atol=1e-5)
    free = Brought(written(tmp_path / "free.onnx", ("n", 3, "h", "w")), (1, 8, 8))
    same = by_torch((grey / 255).expand(-1, 3, -1, -1))
    np.testing.assert_allclose(features_of(free, [grey]), same, rtol=1e-4, atol=1e-5)


def test_the_digest_is_of_the_whole_file(tmp_path):
    one, same = (Brought(written(tmp_path / name), (3, 8, 8)) for name in ("a.onnx", "b.onnx"))
    other = Brought(written(tmp_path / "c.onnx", weight=2 * WEIGHT), (3, 8, 8))
    assert one.digest == same.digest != other.digest


def test_files_that_cannot_be_used_are_refused_in_a_line(tmp_path):
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(written(tmp_path / "whole.onnx").read_bytes()[:40])
    with pytest.raises(BadInput, match=r"broken\.onnx: not an ONNX network that can be run") as refused:
        Brought(broken, (3, 8, 8))
    assert "\n" not in str(refused.value)
    with pytest.raises(BadInput, match="reads pictures of 3 channels, and these have 4"):
        Brought(tmp_path / "whole.onnx", (4, 8, 8))
    with pytest.raises(BadInput, match=r"takes x tensor\(float\) 2x3; a network with one input"):
        Brought(flat(tmp_path / "flat.onnx"), (3, 8, 8))
    smaller = written(tmp_path / "smaller.onnx", ("n", "c", 8, 8))  # runs, until it meets two channels
    with pytest.raises(BadInput, match=r"smaller\.onnx: not an ONNX network that can be run"):
        Brought(smaller, (2, 8, 8))
    with pytest.raises(BadInput, match="not finite"):
        Brought(written(tmp_path / "nan.onnx", weight=WEIGHT * np.float32(np.nan)), (3, 8, 8))
