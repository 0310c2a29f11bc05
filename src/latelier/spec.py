"""One frozen description of a run, plain values only: what the command line can set and model.json keeps."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from latelier.errors import BadInput, unknown

Options = dict[str, float | int | str | bool]


Count = Annotated[int, Field(ge=1)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataSpec(Section):
    """How files become rows."""

    kind: str = "auto"
    given: tuple[str, ...] = ()  # columns, or "label", that the model is conditioned on
    label: str | None = (
        None  # a column (of pictures: "label") that some rows lack: a latent variable that the others observe
    )
    unlabelled: tuple[str, ...] = (
        "unlabelled",
        "unlabeled",
        "-1",
    )  # folders and labels of pictures that stand for none
    ignore: tuple[str, ...] = ()  # columns left out
    missing: tuple[str, ...] = ()  # further spellings of "not there" in text files
    missingness: Literal["at-random", "not-at-random"] = (
        "at-random"  # not: a cell's own value decides whether it is there
    )
    header: Literal["auto", "yes", "no"] = "auto"  # does a text file's first line name the columns?
    # column -> real, amount, cyclic (or cyclic:PERIOD), count, binned, category, ordinal, binary
    families: dict[str, str] = {}
    new_categories: Literal["error", "missing"] = (
        "error"  # what words that training did not have are, when the model is used
    )
    choose: Literal["held-out", "rule"] = (
        "held-out"  # likelihoods of columns: by a held-out fit on training rows, or by rule
    )
    bins: int = Field(0, ge=0)  # columns of numbers are cut into about so many bins (family binned); 0: they are not
    pixels: tuple[Count, Count] | None = None  # height, width that pictures are brought to
    colour: Literal["auto", "grey", "rgb", "rgba"] = "auto"
    labels: str | None = None  # a CSV with columns file,label for a folder of pictures
    holdout: float = Field(0.1, gt=0, lt=1)  # share of rows held out where no test path is given
    flip: bool = False  # augmentation of pictures in training: mirror at random
    shift: int = Field(0, ge=0)  # augmentation: move by at most so many pixels


class NetworkSpec(Section):
    """Shapes of encoder and decoder."""

    name: str = "mlp"
    hidden: tuple[Count, ...] = (256, 256)  # widths of an MLP's layers, encoder order
    channels: tuple[Count, ...] = Field((32, 64), min_length=1)  # feature maps of a convolutional net, one per halving
    blocks: int = Field(1, ge=0)  # residual blocks per resolution
    activation: str = "silu"
    norm: Literal["none", "layer", "batch", "group"] = "none"
    gated: bool = False
    residual: bool = False
    skip: bool = False  # z also enters every layer, or every resolution, of the decoder
    upsample: Literal["transposed", "resize"] = "resize"
    dropout: float = Field(0.0, ge=0, lt=1)
    hide: float = Field(
        0.0, ge=0, lt=0.5
    )  # autoregressive: share of earlier columns hidden from later ones in training
    drop_condition: float = Field(
        0.1, ge=0, lt=0.5
    )  # share of rows without any condition in training, and of single ones hidden in the others


class LatentSpec(Section):
    """The latent variables."""

    name: str = "gaussian"
    dims: int = Field(16, ge=1)
    # of a ladder: dimensions, coarse to fine; of a hierarchy: dimensions of its vector, then channels of each level
    rungs: tuple[Count, ...] = Field((8, 16), min_length=1)
    repeat: int = Field(1, ge=1)  # rungs at each level of a hierarchy
    label_prior: Literal["uniform", "learned"] = "uniform"  # p(y) of the classes of data.label
    # of the (first) variable: standard (the latent's own), mixture, vamp, flow or second-stage; of codes: transformer
    prior: str = "standard"
    components: int = Field(100, ge=1)  # of a mixture; pseudo-inputs of a vamp prior
    flow: Literal["autoregressive", "coupling"] = "autoregressive"  # form of a flow prior; coupling samples sooner
    transforms: int = Field(3, ge=1)  # of a flow, prior or posterior
    width: int = Field(128, ge=1)  # of the layers of a flow, and of a second stage
    posterior: str = "diagonal"  # family of q(z | x): diagonal, full (every correlation) or flow
    # a prior fitted anew to q(z | x) of the trained model: no, auto (the best of several) or its name; if-needed: auto of codes
    refit: str = "if-needed"
    layers: int = Field(2, ge=1)  # of a transformer over codes
    attention: int = Field(64, ge=4, multiple_of=4)  # numbers for each place in it
    codes: int = Field(256, ge=2)  # vectors in a book
    code_dims: int = Field(16, ge=1)  # numbers of a vector
    books: int = Field(1, ge=1)  # each after the first quantises what those before left over
    positions: int | None = Field(None, ge=1)  # of codes; none named: the coarsest map's, or 8 where there are no maps
    levels: tuple[Annotated[int, Field(ge=2)], ...] = Field(
        (8, 5, 5, 5), min_length=1
    )  # of latent fsq: values of each number
    commitment: float = Field(0.25, ge=0)  # weight of the squared distance from a vector to its code
    memory: float = Field(0.99, ge=0, lt=1)  # of the running mean that a code is


class ObjectiveSpec(Section):
    """What is maximised, in nats per row."""

    name: str = "elbo"
    beta: float = Field(1.0, ge=0)
    anneal: Literal["none", "linear", "cyclical"] = "none"  # how the weight of the KL rises to beta
    anneal_share: float = Field(0.2, ge=0, le=1)  # share of the run (of each cycle) in which it rises
    cycles: int = Field(4, ge=1)
    free_nats: float = Field(0.0, ge=0)  # nats of KL per dimension (or group) that cost nothing
    free_by: Literal["dimension", "group"] = "dimension"
    capacity: float | None = Field(None, ge=0)  # KL target in nats (Burgess et al. 2018), reached linearly
    draws: int = Field(1, ge=1)  # draws of z per row; the k of IWAE
    mutual: float = Field(
        1.0, ge=0
    )  # beta_tc: weight of the mutual information of rows and z; beta is the correlation's
    dimension: float = Field(1.0, ge=0)  # beta_tc: weight of the KL that each dimension of q(z) has by itself
    sampling: Literal["stratified", "weighted"] = "stratified"  # beta_tc: how q(z) is estimated from a batch
    mmd: float = Field(10.0, ge=0)  # mmd: weight of the discrepancy of q(z) and p(z); that of the KL is beta
    kernel: Literal["imq", "rbf"] = "imq"  # mmd: inverse multiquadratic or Gaussian, of several widths
    critic: float = Field(
        0.0, ge=0
    )  # pictures: pull of a patch critic, relative to that of log p(x|z); 0: there is none
    critic_from: float = Field(0.5, ge=0, lt=1)  # share of the run before it begins
    critic_channels: tuple[Count, ...] = Field((32, 64), min_length=1)  # of its maps, one per halving
    critic_rate: float = Field(1e-3, gt=0)  # its learning rate, which falls as train.rate does
    critic_nats: float | None = Field(
        None, ge=0
    )  # newer weights are kept while their bound is at most so far below the best one; none: however far
    perceptual: float = Field(0.0, ge=0)  # pictures: nats that a squared distance of 1 between features costs
    perceptual_file: str | None = None  # a feature network that evaluate wrote; in Python fit(features=...) takes any
    alpha: float = Field(1.0, ge=0)  # of a label: weight of the mean of log q(y | x) over rows that have one
    smooth: float = Field(
        0.0, ge=0
    )  # of a label: weight of KL(q(y | x) || q(y | x + r)) at the worst small r (Miyato et al.)
    reach: float = Field(1.0, gt=0)  # of a label: length of that r in what the encoder reads


class TrainSpec(Section):
    """The loop."""

    epochs: int = Field(100, ge=1)
    # stops (and the rate reaches zero) after so long; a prior that is fitted then (latent.refit) may take a quarter of it besides
    minutes: float | None = Field(None, gt=0)
    batch: int = Field(128, ge=1)
    rate: float = Field(1e-3, gt=0)
    warmup: float = Field(0.02, ge=0, lt=1)  # share of the run in which the rate rises
    floor: float = Field(0.01, ge=0, le=1)  # the cosine ends at so much of the rate
    decay: float = Field(0.0, ge=0)  # decoupled weight decay
    clip: float = Field(1000.0, gt=0)  # limit of the gradient's norm; at 100 every step of a convolutional net was cut
    ema: float = Field(0.999, ge=0, lt=1)  # running average of weights; 0 keeps none
    patience: int | None = Field(None, ge=1)  # epochs without a better held-out bound before it stops
    keep: Literal["best", "last"] = "best"  # weights by their held-out bound; last: where something else is what counts
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compiled: Literal["auto", "yes", "no"] = (
        "auto"  # steps as one graph; auto: on a GPU, where launching kernels takes the time
    )
    holes: float = Field(0.0, ge=0, lt=1)  # share of entries hidden from the encoder in training
    labelled: float = Field(0.2, ge=0, lt=1)  # least share of rows with a label in every batch, where there are any
    seed: int = Field(0, ge=0)
    checkpoint: float = Field(30.0, ge=0)  # seconds between checkpoints; 0: only when the run ends or is interrupted
    device: str = "auto"
    threads: int | Literal["auto"] = "auto"  # of the processor; measured, as more can be slower on a busy machine


# Settings for a purpose that do not depend on the data (those that do: ``Kind.purposes``), below the user's own and above
# what suits the data. Those of ``synthesis`` were chosen on a fifth of the training rows of Adult (boosted trees trained on
# samples of the rest, tested on that fifth).
PURPOSES: dict[str, dict[str, Any]] = {
    "synthesis": {
        "data.bins": 64,
        "network.name": "autoregressive",
        "network.hidden": (256, 256, 256),
        "network.dropout": 0.05,
        "network.hide": 0.25,  # with all of the columns before it at hand no column would need z
        "train.rate": 2e-3,
    },
}


# Settings against what a trained model was found to suffer from, below the user's own and above those of a purpose. That of
# ``collapse`` was chosen by benchmarks/cure.py on the sentences of multi30k: of 10 cures that bring a collapsed autoregressive
# decoder's units back, the one that cost the fewest nats of the importance-weighted bound. More free nats, annealing, a smaller
# beta and hidden columns cost 2 to 20 times as many. That of ``blur`` was tried on MNIST with an MLP of 8 dimensions
# (benchmarks/sharpen.py): 0.03 costs no nats that can be told from none and takes FID from .566 to .534; 0.1 takes it to .506.
CURES: dict[str, dict[str, Any]] = {
    "collapse": {
        "objective.free_nats": 0.05,
    },
    "blur": {
        "objective.critic": 0.03,
    },
}


class Spec(Section):
    """Everything that makes a model, given its data.

    >>> Spec.of({"train.epochs": 5, "latent": {"dims": 2}}).train.epochs
    5
    >>> Spec.of({"train.epoch": 5})
    Traceback (most recent call last):
    latelier.errors.BadInput: unknown option 'train.epoch'; did you mean 'train.epochs'?
    """

    size: Literal["small", "medium", "large"] = "small"
    purpose: Literal["any", "imputation", "synthesis"] = "any"  # what the defaults are best at
    cure: Literal["none", "collapse", "blur"] = (
        "none"  # collapse: z is made to tell something; blur: pictures are made sharper
    )
    data: DataSpec = DataSpec()
    network: NetworkSpec = NetworkSpec()
    latent: LatentSpec = LatentSpec()
    likelihood: dict[str, str] = {}  # field or family -> name in the table of likelihoods
    head: dict[str, Options] = {}  # field or family -> options of its likelihood
    objective: ObjectiveSpec = ObjectiveSpec()
    train: TrainSpec = TrainSpec()

    @classmethod
    def of(cls, settings: Mapping[str, Any], defaults: Mapping[str, Any] | None = None) -> Spec:
        """From nested or dotted settings, over those of the cure and the purpose that they name, over ``defaults``. BadInput
        names the nearest known option."""
        merged: dict[str, Any] = {}
        purpose, cure = PURPOSES.get(str(settings.get("purpose")), {}), CURES.get(str(settings.get("cure")), {})
        for source in (defaults or {}, purpose, cure, settings):
            for path, value in _leaves(source):
                _place(merged, path, value)
        try:
            return cls.model_validate(merged)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(str(part) for part in first["loc"])
            if first["type"] == "extra_forbidden":
                raise unknown("option", name, option_names()) from None
            raise BadInput(f"option {name} = {first['input']!r}: {first['msg'].lower()}") from None


def option_names() -> list[str]:
    """Every dotted name that ``--set`` takes."""
    names = []
    for name, info in Spec.model_fields.items():
        section = info.annotation
        if isinstance(section, type) and issubclass(section, Section):
            names += [f"{name}.{inner}" for inner in section.model_fields]
        else:
            names.append(name)
    return names


SHORT = {  # what people type -> where it stands
    "kind": "data.kind",
    "given": "data.given",
    "label": "data.label",
    "ignore": "data.ignore",
    "missingness": "data.missingness",
    "missing": "data.missing",
    "pixels": "data.pixels",
    "labels": "data.labels",
    "holdout": "data.holdout",
    "network": "network.name",
    "latent": "latent.name",
    "dims": "latent.dims",
    "prior": "latent.prior",
    "posterior": "latent.posterior",
    "refit": "latent.refit",
    "objective": "objective.name",
    "beta": "objective.beta",
    "draws": "objective.draws",
    "epochs": "train.epochs",
    "minutes": "train.minutes",
    "batch": "train.batch",
    "rate": "train.rate",
    "seed": "train.seed",
    "device": "train.device",
    "threads": "train.threads",
    "precision": "train.precision",
    "patience": "train.patience",
}

_OPEN = {"likelihood", "head", "data.families"}  # dictionaries whose keys are the user's


def _leaves(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in settings.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and path not in _OPEN:
            yield from _leaves(value, path + ".")
        elif any(path.startswith(name + ".") for name in _OPEN):
            name = next(name for name in _OPEN if path.startswith(name + "."))
            rest = path[len(name) + 1 :]
            parts = rest.rsplit(".", 1) if name == "head" and "." in rest else [rest]
            yield (*name.split("."), *parts), value
        else:
            yield tuple(path.split(".")), value


def _place(tree: dict[str, Any], path: tuple[str, ...], value: Any) -> None:
    for part in path[:-1]:
        tree = tree.setdefault(part, {})
        if not isinstance(tree, dict):
            raise BadInput(f"option {'.'.join(path)}: {part!r} is a value, not a section")
    if isinstance(value, Mapping) and isinstance(tree.get(path[-1]), dict):
        tree[path[-1]] = {**tree[path[-1]], **value}
    else:
        tree[path[-1]] = dict(value) if isinstance(value, Mapping) else value
