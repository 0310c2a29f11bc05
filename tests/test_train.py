"""The loop: it resumes bit for bit, survives what is not finite, and finds known optima."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
import torch
from torch._dynamo.exc import TorchDynamoException

from latelier.batch import Batch
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.log import read_log
from latelier.machine import settled
from latelier.spec import Spec
from latelier.step import Diverged, rate
from latelier.store import load_checkpoint
from latelier.train import Data, train

ROWS, HELD = 57, 10


def schema() -> Schema:
    return Schema(kind="tables", fields=(Field(name="real", shape=(4,), support="real", likelihood="gaussian"),))


def data(augment=None) -> Data:
    x = torch.randn(ROWS + HELD, 4, generator=torch.Generator().manual_seed(0))
    x[:, 0] = torch.arange(ROWS + HELD) / 50  # distinct rows whose order can be followed
    rows = Batch({"real": x})
    training, held = rows.take(torch.arange(ROWS)), rows.take(torch.arange(ROWS, ROWS + HELD))
    return Data(training, torch.arange(ROWS), held, augment=augment)


def spec(**train_options) -> Spec:
    settings = dict(epochs=4, batch=8, checkpoint=0, precision="float32", holes=0.2) | train_options
    return Spec.of({"network.hidden": (8,), "network.norm": "batch", "latent.dims": 2, "train": settings})


class Follow:
    """Notes the rows of every batch, and interrupts before one of them if asked to."""

    def __init__(self, stop_at: int | None = None, by=None):
        self.seen: list[float] = []
        self.batches, self.stop_at = 0, stop_at
        self.by = by or (lambda: signal.raise_signal(signal.SIGINT))

    def __call__(self, batch: Batch) -> Batch:
        self.batches += 1
        self.seen += batch.fields["real"][:, 0].tolist()
        if self.batches == self.stop_at:
            self.by()
        return batch


@pytest.mark.parametrize("stop_at", [1, 5, 7, 8, 17, 28])
def test_an_interrupted_run_resumes_bit_for_bit(tmp_path, stop_at):
    straight, first, second = Follow(), Follow(stop_at), Follow()
    train(spec(), schema(), data(straight), tmp_path / "straight")
    with pytest.raises(KeyboardInterrupt):
        train(spec(), schema(), data(first), tmp_path / "broken")
    torch.manual_seed(999)
    train(spec(), schema(), data(second), tmp_path / "broken", resume=True)
    (tensors, state), (others, other) = load_checkpoint(tmp_path / "straight"), load_checkpoint(tmp_path / "broken")
    assert tensors.keys() == others.keys()
    assert all(torch.equal(tensors[k], others[k]) for k in tensors)
    assert {k: v for k, v in state.items() if k != "seconds"} == {k: v for k, v in other.items() if k != "seconds"}
    assert first.seen + second.seen == straight.seen
    strip = [{k: v for k, v in e.items() if k != "seconds"} for e in read_log(tmp_path / "straight")]
    assert strip == [{k: v for k, v in e.items() if k != "seconds"} for e in read_log(tmp_path / "broken")]
    assert (tmp_path / "straight" / "model.json").exists()


def test_epochs_may_be_raised_when_resuming(tmp_path):
    train(spec(epochs=2), schema(), data(), tmp_path)
    run = train(spec(epochs=3), schema(), data(), tmp_path, resume=True)
    assert run.epoch == 3 and [e["epoch"] for e in read_log(tmp_path)] == [1, 2, 3]


def test_the_same_seed_gives_the_same_model_and_another_seed_another(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train(spec(seed=seed), schema(), data(), tmp_path / name)
    a, b, c = (load_checkpoint(tmp_path / name)[0] for name in "abc")
    assert all(torch.equal(a[k], b[k]) for k in a)
    assert not torch.equal(a["vae.decoder.net.last.weight"], c["vae.decoder.net.last.weight"])


def spoil(batch: Batch) -> Batch:
    return Batch({"real": torch.full_like(batch.fields["real"], float("nan"))})


def test_a_batch_that_is_not_finite_is_named_and_skipped(tmp_path):
    follow, events = Follow(), []

    def sometimes(batch: Batch) -> Batch:
        follow(batch)
        return spoil(batch) if follow.batches == 11 else batch

    run = train(spec(), schema(), data(sometimes), tmp_path, watch=events.append)
    (skipped,) = [e for e in events if e["event"] == "skipped"]
    assert "epoch 2, step 11, rows" in skipped["where"]
    tensors, _ = load_checkpoint(tmp_path)
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())
    assert run.best > -1e6


def test_a_loss_that_stays_not_finite_stops_the_run_and_reaches_no_checkpoint(tmp_path):
    with pytest.raises(Diverged, match="not finite for 21 steps in a row"):
        train(spec(checkpoint=1e-9), schema(), data(spoil), tmp_path)
    tensors, _ = load_checkpoint(tmp_path)
    assert all(torch.isfinite(t).all() for t in tensors.values() if t.is_floating_point())


def test_a_run_that_diverges_keeps_its_best_model(tmp_path):
    follow = Follow()

    def later(batch: Batch) -> Batch:
        follow(batch)
        return spoil(batch) if follow.batches > 14 else batch

    with pytest.raises(Diverged):
        train(spec(epochs=10), schema(), data(later), tmp_path)
    assert json.loads((tmp_path / "model.json").read_text())["figures"]["epoch"] <= 2


def test_killed_after_an_epoch_was_logged_the_log_has_it_once(tmp_path):
    def die(event) -> None:
        if event.get("epoch") == 2:
            raise RuntimeError

    with pytest.raises(RuntimeError):
        train(spec(checkpoint=1e-9), schema(), data(), tmp_path, watch=die)
    assert load_checkpoint(tmp_path)[1]["epoch"] == 1  # its last step is done, but it was not looked at yet
    train(spec(), schema(), data(), tmp_path, resume=True)
    assert [e["epoch"] for e in read_log(tmp_path)] == [1, 2, 3, 4]


def test_a_run_whose_time_was_spent_before_the_first_look_has_a_model(tmp_path):
    with pytest.raises(KeyboardInterrupt):
        train(spec(), schema(), data(Follow(3)), tmp_path)
    assert not (tmp_path / "model.json").exists()
    train(spec(minutes=1e-9), schema(), data(), tmp_path, resume=True)
    assert (tmp_path / "model.json").exists()


def test_patience_and_minutes_end_a_run(tmp_path):
    run = train(spec(epochs=500, patience=3, rate=1e-9), schema(), data(), tmp_path / "patient")
    assert run.epoch == run.best_epoch + 3 < 500
    begun = time.monotonic()
    train(spec(epochs=10**6, minutes=0.02), schema(), data(), tmp_path / "timed")
    assert time.monotonic() - begun < 10


def test_each_epoch_is_looked_at_with_weights_of_its_own_however_few_its_steps(tmp_path):
    """Else patience would be spent while the running average stands still."""
    plain = Spec.of({"network.norm": "none"}, spec(epochs=6, batch=10_000, patience=1).model_dump())
    run = train(plain, schema(), data(), tmp_path)
    bounds = [e["elbo"] for e in read_log(tmp_path)]
    assert run.step == len(bounds) == len(set(bounds)) == 6


def test_the_rate_rises_then_falls_to_its_floor():
    options = spec(rate=1.0, warmup=0.1, floor=0.05).train
    assert rate(options, 0.0) < 0.01 and rate(options, 0.1) > 0.9 and rate(options, 1.0) == pytest.approx(0.05)


def test_precision_and_threads_are_measured_choices_that_a_spec_keeps():
    before = torch.get_num_threads()
    chosen = settled(Spec()).train
    assert chosen.precision in ("float32", "bfloat16")
    assert 1 <= chosen.threads <= before == torch.get_num_threads()
    assert settled(Spec.of({"train.threads": 3, "train.precision": "bfloat16"})).train.threads == 3


def weights_of(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder)[0]


def test_a_step_is_one_graph_without_breaks_and_gives_the_same(tmp_path, monkeypatch):
    compile_, graphs = torch.compile, []

    def counted(graph, inputs):
        graphs.append(graph)
        return graph.forward

    def whole(loss, **how):  # torch's own tracing; only what makes machine code of the graph is left out, for time
        return compile_(loss, backend=counted, fullgraph=True)

    monkeypatch.setattr(torch, "compile", whole)
    torch._dynamo.reset()
    for name in ("yes", "no"):
        asked = spec(epochs=2, compiled=name).model_dump() | {
            "latent": {"name": "ladder"},
            "objective": {"anneal": "linear"},
        }
        train(Spec.of(asked), schema(), data(), tmp_path / name)
    same, other = weights_of(tmp_path / "yes"), weights_of(tmp_path / "no")
    assert same.keys() == other.keys() and all(torch.equal(same[k], other[k]) for k in same)
    assert 0 < len(graphs) <= 6  # whole batches and the last one, with and without a weight of the KL that moves


def test_steps_that_cannot_be_compiled_are_taken_one_by_one(tmp_path, monkeypatch):
    def broken(loss, **how):
        def step(batch):
            raise TorchDynamoException("no C++ compiler")

        return step

    monkeypatch.setattr(torch, "compile", broken)
    told = []
    run = train(spec(compiled="yes"), schema(), data(), tmp_path, told.append)
    assert run.epoch == 4
    assert [event["why"] for event in told if event["event"] == "not compiled"] == ["no C++ compiler"]


def test_an_unknown_device_is_one_line(tmp_path):
    with pytest.raises(BadInput, match="use --device cpu"):
        train(spec(device="abacus"), schema(), data(), tmp_path)


CHILD = textwrap.dedent("""
    import sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import torch
    torch.set_num_threads(1)
    from test_train import data, schema, spec
    from latelier.train import train
    folder = Path(sys.argv[2])
    begun = (folder / "checkpoint.safetensors").exists()
    train(spec(epochs=10**6, checkpoint=1e-9), schema(), data(), folder, resume=begun)
""")


def step_of(folder: Path) -> int:
    return load_checkpoint(folder)[1]["step"] if (folder / "checkpoint.safetensors").exists() else 0


def test_a_killed_run_leaves_readable_checkpoints_and_goes_on(tmp_path):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join(sys.path)}
    steps = [0]
    for kill in range(3):
        child = subprocess.Popen([sys.executable, "-c", CHILD, str(Path(__file__).parent), str(tmp_path)], env=env)
        while child.poll() is None and step_of(tmp_path) <= steps[-1] + 8:  # an epoch, so that there is a model
            time.sleep(0.01)
        time.sleep(0.05 + 0.037 * kill)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        steps.append(step_of(tmp_path))
    assert steps[0] < steps[1] < steps[2] < steps[3]
    json.loads((tmp_path / "model.json").read_text())


def test_batch_normalisation_of_single_rows_is_refused(tmp_path):
    with pytest.raises(BadInput, match=r"train\.batch of 2 or more"):
        train(spec(batch=1), schema(), data(), tmp_path / "model")
    assert not (tmp_path / "model").exists()
