"""Images per second of training: ours, pythae 0.1.2 and a bare PyTorch loop, with the same networks; and how soon the
command line answers.

    python benchmarks/speed.py --budget 5            # pip install pythae==0.1.2 for the peer
    python benchmarks/speed.py --nets mlp --rows 12800 --epochs 3

Protocol: pictures cut to 0 / 1, batch 128, 16 latent dimensions, Bernoulli likelihood (pythae's 'bce'), Adam at a constant
1e-3, one thread. ``ours`` is what a user gets, bfloat16 where that is measured to be faster on the machine (the choice is
printed), and ``ours, memory given back`` the same without ``machine.memory_kept``; ``ours float32``, pythae and the bare loop
are in float32. They train in turn, A B C D A B C D ..., each through its
own front door and in the same process; all look at the same held-out rows after each epoch; the clock runs from the end of
the first epoch to the end of the last. Ours has its running average, checkpoints and log on, and looks at the norm of the
gradient. ``mlp`` is pythae's default network, ``conv`` its convolutional network for MNIST. Layers and sizes are the same for
all; the last sigmoid is taken inside the loss by ours and the bare loop; ours are the layers of latelier.nets, which take
wide convolutions of small maps as matrix products where that is faster. One function, the same for all, computes the
held-out bound of the weights of the last step.
"""

from __future__ import annotations

import contextlib
import io
import logging
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from unittest import mock

import torch
from record import Recorder, arguments, default_data, machine, spread
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from latelier import networks
from latelier.batch import Batch
from latelier.decoders import Decoder, Factorised
from latelier.encoders import FieldInput
from latelier.kinds import KINDS
from latelier.latents import LATENTS
from latelier.latents.base import Nets
from latelier.latents.chain import Latents
from latelier.latents.gaussian import Gaussian
from latelier.likelihoods.base import Likelihood
from latelier.machine import choose_precision
from latelier.nets.products import Conv2d, ConvTranspose2d
from latelier.spec import LatentSpec, Spec
from latelier.train import Data, train

BATCH, DIMS, RATE = 128, 16, 1e-3
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
PRECISION = choose_precision(DEVICE)


@dataclass(frozen=True)
class Trained:
    """Seconds after the first epoch, on the clock and of the processor, and the model as two functions in evaluation mode."""

    seconds: float
    processor: float
    encode: Callable[[Tensor], tuple[Tensor, Tensor]]  # x -> mean, log of the variance
    decode: Callable[[Tensor], Tensor]  # z -> logits


@dataclass(frozen=True)
class Round:
    """What each is given."""

    net: str
    rows: Tensor  # uint8, 0 or 255, (N, 1, 28, 28)
    held: Tensor
    epochs: int
    seed: int


# --- the networks: pythae's, written once more for ours and for the bare loop, which differ in the classes of their layers


def body(
    net: str, conv: type[nn.Conv2d], transposed: type[nn.ConvTranspose2d]
) -> tuple[nn.Sequential, int, nn.Sequential]:
    """(pictures -> features, how many, z -> logits (N, 1, 28, 28))."""
    if net == "mlp":
        encoder = nn.Sequential(nn.Flatten(), nn.Linear(784, 512), nn.ReLU())
        decoder = nn.Sequential(nn.Linear(DIMS, 512), nn.ReLU(), nn.Linear(512, 784), nn.Unflatten(1, (1, 28, 28)))
        return encoder, 512, decoder
    layers: list[nn.Module] = []
    for a, b in ((1, 128), (128, 256), (256, 512), (512, 1024)):
        layers += [conv(a, b, 4, 2, 1), nn.BatchNorm2d(b), nn.ReLU()]
    decoder = nn.Sequential(
        nn.Linear(DIMS, 1024 * 4 * 4),
        nn.Unflatten(1, (1024, 4, 4)),
        *(transposed(1024, 512, 3, 2, 1), nn.BatchNorm2d(512), nn.ReLU()),
        *(transposed(512, 256, 3, 2, 1, 1), nn.BatchNorm2d(256), nn.ReLU()),
        transposed(256, 1, 3, 2, 1, 1),
    )
    return nn.Sequential(*layers, nn.Flatten()), 1024, decoder


class Plain(nn.Module):
    """The bare loop's model."""

    def __init__(self, net: str):
        super().__init__()
        self.encoder, width, self.decoder = body(net, nn.Conv2d, nn.ConvTranspose2d)
        self.mean, self.log_variance = nn.Linear(width, DIMS), nn.Linear(width, DIMS)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h = self.encoder(x)
        return self.mean(h), self.log_variance(h)

    def loss(self, x: Tensor) -> Tensor:
        mean, log_variance = self.encode(x)
        z = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
        cost = F.binary_cross_entropy_with_logits(self.decoder(z), x, reduction="none").flatten(1).sum(1)
        return (cost - 0.5 * (1 + log_variance - mean**2 - log_variance.exp()).sum(1)).mean()


class Features(nn.Module):
    """A network as our encoder wants it: features, the last of them a vector."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, x: Tensor, c: Tensor | None) -> tuple[Tensor, ...]:
        return (self.net(x),)


class Decoded(nn.Module):
    """A network as our decoder wants it: of z and a condition, of which there is none."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def forward(self, z: Tensor, c: Tensor | None) -> Tensor:
        logits: Tensor = self.net(z)
        return logits


class Posterior(nn.Module):
    """Mean and log of the scale from the features by one linear map, where pythae has two of the same sizes."""

    halved: Tensor

    def __init__(self, width: int, dims: int):
        super().__init__()
        self.linear = nn.Linear(width, 2 * dims)
        self.register_buffer("halved", torch.tensor([1.0] * dims + [0.5] * dims))  # a log of variances is twice that

    def forward(self, state: Tensor, features: Sequence[Tensor], c: Tensor | None) -> Tensor:
        return self.linear(features[-1]) * self.halved


def network(spec: Spec, inputs: Sequence[FieldInput], c: int) -> networks.Network:
    """The entry in our table of networks."""
    encoder, width, decoder = body(spec.network.name.removeprefix("pythae_"), Conv2d, ConvTranspose2d)

    def decode(state: tuple[int, ...], c: int, heads: Mapping[str, Likelihood]) -> Decoder:
        return Factorised(Decoded(decoder), heads)

    return networks.Network(Features(encoder), width, decode)


def latent(spec: LatentSpec, features: int, c: int, nets: Nets) -> Latents:
    """The entry in our table of latents."""
    return Latents([Gaussian("z", (spec.dims,), Posterior(features, spec.dims))])


# --- who trains


def ours(given: Round, folder: Path, precision: str = "") -> Trained:
    images = KINDS["images"]
    schema = images.scan(given.rows[:, 0].numpy(), Spec().data)
    settings = {
        "network.name": f"pythae_{given.net}",
        "latent": {"name": "pythae", "dims": DIMS},
        "train": {
            "epochs": given.epochs,
            "batch": BATCH,
            "rate": RATE,
            "warmup": 0.0,
            "floor": 1.0,
            "seed": given.seed,
            "clip": 1e9,  # the norm is looked at, but limits nothing: neither does it for the others
            "precision": precision or PRECISION,
            "threads": 1,
        },
    }
    data = Data(Batch({"image": given.rows}), torch.arange(len(given.rows)), Batch({"image": given.held}))
    clock = Clock()
    run = train(
        Spec.of(settings), schema, data, folder, watch=lambda event: clock.lap() if event["event"] == "epoch" else None
    )
    seconds, processor = clock.between()
    vae = run.vae.eval()  # the weights of the last step, as of the others, not their running average

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        q = vae.infer(Batch({"image": x})).steps["z"].q
        return q.centre, 2 * q.log_scale

    return Trained(seconds, processor, encode, lambda z: vae.decoder.net(z, None))


def ours_giving_back(given: Round, folder: Path) -> Trained:
    """Ours as the C library does by itself: what a step frees goes back to the system."""
    with mock.patch("latelier.train.memory_kept", contextlib.nullcontext):
        return ours(given, folder)


def pythae(given: Round, folder: Path) -> Trained:
    from pythae.models import VAE, VAEConfig
    from pythae.models.nn.benchmarks.mnist import Decoder_Conv_AE_MNIST, Encoder_Conv_VAE_MNIST
    from pythae.pipelines import TrainingPipeline
    from pythae.trainers import BaseTrainerConfig
    from pythae.trainers.training_callbacks import TrainingCallback

    class Laps(TrainingCallback):
        def on_epoch_end(self, training_config: object, **others: object) -> None:
            clock.lap()

    rows, held = given.rows.float() / 255, given.held.float() / 255
    torch.manual_seed(given.seed)
    config = VAEConfig(input_dim=(1, 28, 28), latent_dim=DIMS, reconstruction_loss="bce")
    parts = (Encoder_Conv_VAE_MNIST(config), Decoder_Conv_AE_MNIST(config)) if given.net == "conv" else (None, None)
    model = VAE(config, *parts)
    training = BaseTrainerConfig(
        output_dir=str(folder),
        num_epochs=given.epochs,
        learning_rate=RATE,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=1024,
        optimizer_cls="Adam",
        seed=given.seed,
    )
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        clock = Clock()
        TrainingPipeline(model=model, training_config=training)(train_data=rows, eval_data=held, callbacks=[Laps()])
        seconds, processor = clock.between()
    model.eval()
    model.decoder.layers[-1][-1] = nn.Identity()  # the sigmoid: logits are wanted here

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        q = model.encoder(x)
        return q.embedding, q.log_covariance

    return Trained(seconds, processor, encode, lambda z: model.decoder(z).reconstruction.reshape(-1, 1, 28, 28))


def bare(given: Round, folder: Path) -> Trained:
    """What one would write by hand: fused Adam, rows by index from memory, nothing else."""
    torch.manual_seed(given.seed)
    model = Plain(given.net).to(DEVICE)
    rows, held = (given.rows.float() / 255).to(DEVICE), (given.held.float() / 255).to(DEVICE)
    optimiser = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
    clock = Clock()
    for _ in range(given.epochs):
        model.train()
        for ids in torch.randperm(len(rows)).to(DEVICE).split(BATCH):
            optimiser.zero_grad()
            model.loss(rows[ids]).backward()
            optimiser.step()
        model.eval()
        with torch.no_grad():
            for part in held.split(1024):
                model.loss(part)
        clock.lap()
    seconds, processor = clock.between()
    return Trained(seconds, processor, model.encode, model.decoder)


WHO = {
    "ours": ours,
    "ours float32": partial(ours, precision="float32"),
    "ours, memory given back": ours_giving_back,
    "pythae": pythae,
    "bare": bare,
}
GOALS = (("ours", "pythae", 1.5), ("ours float32", "bare", 0.95), ("ours", "ours, memory given back", 1.0))


class Clock:
    """Seconds of the clock on the wall and of this process's processor."""

    def __init__(self) -> None:
        self.laps = [self.now()]

    def now(self) -> tuple[float, float]:
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()

    def lap(self) -> None:
        self.laps.append(self.now())

    def between(self) -> tuple[float, float]:
        """From the first lap to the last, without what came before: start, first touch of memory, first checkpoint."""
        return self.laps[-1][0] - self.laps[1][0], self.laps[-1][1] - self.laps[1][1]

    def read(self) -> float:
        """Seconds since it was made."""
        return self.now()[0] - self.laps[0][0]


# --- what is the same for all


@torch.no_grad()
def bound(trained: Trained, held: Tensor, draws: int = 2) -> float:
    """The ELBO of held-out rows, nats per row, with the same noise for all."""
    generator = torch.Generator().manual_seed(0)
    total = 0.0
    for part in (held.float() / 255).split(500):
        x = part.to(DEVICE)
        mean, log_variance = trained.encode(x)
        kl = 0.5 * (mean**2 + log_variance.exp() - 1 - log_variance).sum()
        for _ in range(draws):
            noise = torch.randn(mean.shape, generator=generator).to(DEVICE)
            logits = trained.decode(mean + torch.exp(0.5 * log_variance) * noise)
            cost = F.binary_cross_entropy_with_logits(logits, x, reduction="sum")
            total -= float(cost + kl) / draws
    return total / len(held)


def product_rate(size: int = 1024) -> float:
    """Multiply-adds x 2 per second of a float32 matrix product in this process: the physical limit of the networks."""
    a, b = torch.randn(size, size, device=DEVICE), torch.randn(size, size, device=DEVICE)
    a @ b
    clock = Clock()
    for _ in range(10):
        a @ b
    return 10 * 2 * size**3 / clock.read()


def operations(net: str) -> float:
    """Multiply-adds x 2 of one step, forwards and backwards, per picture; padding counts as it is written."""
    model = Plain(net)
    with FlopCounterMode(display=False) as counter:
        model.loss(torch.zeros(BATCH, 1, 28, 28)).backward()
    return counter.get_total_flops() / BATCH


def compare(
    net: str, who: list[str], rows: Tensor, held: Tensor, options: Options, recorder: Recorder, data: str
) -> None:
    """Rounds of A B C until the minutes are spent, at least 3; then the ratios."""
    per_picture = operations(net)
    clock = Clock()
    taken: dict[str, list[Trained]] = {name: [] for name in who}
    bounds: dict[str, list[float]] = {name: [] for name in who}
    rates: list[float] = []
    while len(rates) < 3 or clock.read() * (1 + 1 / len(rates)) < 60 * options.minutes:
        rates.append(product_rate())
        for name in who:
            with tempfile.TemporaryDirectory() as folder:
                given = Round(net, rows, held, options.epochs, seed=len(rates) - 1)
                trained = WHO[name](given, Path(folder))
            taken[name].append(trained)
            bounds[name].append(bound(trained, held))
            pictures = len(rows) * (options.epochs - 1) / trained.seconds
            recorder.add(f"training, {net}", data, name, given.seed, pictures, "pictures/s")
            recorder.add(f"held-out ELBO, {net}", data, name, given.seed, bounds[name][-1], "nats/row")
    limit = statistics.median(rates)
    print(
        f"{net}: {len(rows)} rows x {options.epochs} epochs, {len(held)} held out, {per_picture / 1e6:.1f} Mflop a picture"
    )
    print(f"  matrix product {limit / 1e9:.1f} Gflop/s: at most {limit / per_picture:.0f} pictures/s")
    for name in who:
        pictures = [len(rows) * (options.epochs - 1) / t.seconds for t in taken[name]]
        share = [p * per_picture / rate for p, rate in zip(pictures, rates, strict=True)]
        recorder.add(f"share of product rate, {net}", data, name, 0, statistics.median(share), "of 1")
        print(
            f"  {name:<24} {spread(pictures)} pictures/s, {statistics.median(share):.0%} of the product rate; "
            f"ELBO {spread(bounds[name])}"
        )
    for one, other, goal in GOALS:
        if one not in who or other not in who:
            continue
        ratio = [b.seconds / a.seconds for a, b in zip(taken[one], taken[other], strict=True)]
        processor = [b.processor / a.processor for a, b in zip(taken[one], taken[other], strict=True)]
        better = [a - b for a, b in zip(bounds[one], bounds[other], strict=True)]
        reached = "reached" if statistics.median(ratio) >= goal else "NOT reached"
        recorder.add(f"{one} / {other}, {net}", data, one, 0, statistics.median(ratio), "x")
        print(
            f"  {one} / {other}: {spread(ratio)} x on the clock, {spread(processor)} x in processor time; goal {goal}: "
            f"{reached}; ELBO {one} - {other}: {spread(better)} nats"
        )


@dataclass(frozen=True)
class Options:
    epochs: int
    minutes: float


def launches(net: str, rows: Tensor, held: Tensor, recorder: Recorder, data: str) -> None:
    """On a GPU: the share of the time in which it waits for the next kernel."""
    if DEVICE.type != "cuda":
        print("SKIPPED launch-bound share: there is no GPU")
        return
    for name, who in WHO.items():
        if name == "pythae" and not has_pythae():
            continue
        with tempfile.TemporaryDirectory() as folder:
            who(Round(net, rows, held, 2, 0), Path(folder))  # what is done once, such as choosing kernels
            clock, activities = Clock(), [torch.profiler.ProfilerActivity.CUDA]
            with torch.profiler.profile(activities=activities) as profile:
                trained = who(Round(net, rows, held, 2, 0), Path(folder))
            seconds = clock.read()
        busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
        steps = -(-len(rows) // BATCH) / trained.seconds
        recorder.add(f"steps on the GPU, {net}", data, name, 0, steps, "steps/s")
        recorder.add(f"share of time the GPU waits, {net}", data, name, 0, max(0.0, 1 - busy / seconds), "of 1")


def command_line(recorder: Recorder) -> None:
    """From the shell's fork to the last line of --help, and what was imported for it."""
    seconds = []
    for _ in range(5):
        clock = Clock()
        subprocess.run([sys.executable, "-m", "latelier", "--help"], check=True, stdout=subprocess.DEVNULL)
        seconds.append(clock.read())
    code = "import sys; from latelier.cli import main; main(['--help']); print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.split()[-1] == "False", "latelier --help imports torch"
    recorder.add("latelier --help", "-", "ours", 0, statistics.median(seconds), "s")
    reached = "reached" if statistics.median(seconds) < 0.7 else "NOT reached"
    print(f"  latelier --help: {spread(seconds)} s without importing torch; goal below 0.7 s: {reached}")


def has_pythae() -> bool:
    """Is the peer installed?"""
    try:
        import pythae.models  # noqa: F401
    except ImportError:
        return False
    return True


def main() -> None:
    parser = arguments(__doc__, budget=5.0)
    parser.add_argument("--who", nargs="+", choices=list(WHO), default=list(WHO), help="who trains")
    parser.add_argument("--nets", nargs="+", choices=["mlp", "conv"], default=["mlp", "conv"])
    parser.add_argument("--rows", type=int, help="training rows (default 12800 for mlp, 768 for conv)")
    parser.add_argument("--epochs", type=int, help="epochs of a round, 2 at least (default 6 for mlp, 4 for conv)")
    options = parser.parse_args()
    print(machine())
    logging.disable(logging.CRITICAL)  # pythae's
    recorder = Recorder(options.json)
    command_line(recorder)
    path = options.data or default_data("mnist")
    schema = KINDS["images"].scan(path, Spec().data)
    pictures = next(iter(KINDS["images"].read(path, schema, 100_000))).fields["image"]
    assert pictures.shape[1:] == (1, 28, 28), f"{path}: pythae's networks take grey pictures of 28 x 28 pixels"
    pictures = torch.where(pictures > 127, 255, 0).to(torch.uint8)[
        torch.randperm(len(pictures), generator=torch.Generator().manual_seed(0))
    ]
    print(f"  ours trains in {PRECISION}")
    who = [name for name in options.who if name != "pythae" or has_pythae()]
    if "pythae" not in who and "pythae" in options.who:
        print("SKIPPED pythae: not installed; pip install pythae==0.1.2")
    LATENTS["pythae"] = latent
    for net in options.nets:
        networks.NETWORKS[f"pythae_{net}"] = network
        held = pictures[: min({"mlp": 1000, "conv": 128}[net], len(pictures) // 6)]
        rows = pictures[len(held) :][: options.rows or {"mlp": 12_800, "conv": 768}[net]]
        settings = Options(options.epochs or {"mlp": 6, "conv": 4}[net], options.budget / len(options.nets))
        compare(net, who, rows, held, settings, recorder, path.name)
        launches(net, rows, held, recorder, path.name)


if __name__ == "__main__":
    main()
