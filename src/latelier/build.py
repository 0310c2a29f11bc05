"""Spec + Schema -> VAE: the only place where parts are chosen by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from latelier.data.schema import Field, Schema
from latelier.data.transforms import Binarise, Dequantise
from latelier.decoders import Autoregressive
from latelier.encoders import Condition, Encoder, FieldInput
from latelier.errors import BadInput, unknown
from latelier.kinds.base import Kind
from latelier.latents import LATENTS
from latelier.latents.label import labelled
from latelier.latents.posteriors import POSTERIORS
from latelier.latents.posteriors.diagonal import Diagonal
from latelier.latents.priors import PRIORS
from latelier.latents.priors.place import Place
from latelier.likelihoods import LIKELIHOODS
from latelier.likelihoods.base import Likelihood
from latelier.missing import Missingness
from latelier.nets.critic import PatchCritic
from latelier.networks import NETWORKS, Parts
from latelier.objectives import OBJECTIVES, Bound, Dreg, Enumerated, Objective, Sharpened
from latelier.objectives.enumerated import PAIRS
from latelier.objectives.sharpened import Features, View
from latelier.spec import ObjectiveSpec, Spec
from latelier.vae import VAE


def build(spec: Spec, schema: Schema) -> VAE:
    """The model that the spec describes, for data as the schema describes them. Weights are drawn from torch's generator."""
    if spec.network.norm == "batch" and spec.train.batch < 2:
        raise BadInput("network.norm=batch compares rows; give train.batch of 2 or more, or network.norm=layer")
    return assemble(spec, schema, {f.name: make_head(f, f.likelihood) for f in schema.modelled})


def make_head(field: Field, likelihood: str) -> Likelihood:
    """p(x | h) of the field under the likelihood of that name."""
    head: Likelihood = choose("likelihood", likelihood, LIKELIHOODS).make(field.shape, field.sizes, field.options)
    return head


def assemble(spec: Spec, schema: Schema, heads: Mapping[str, Likelihood]) -> VAE:
    """The model whose decoder has these heads, named for the fields of a batch that they explain."""
    inputs = [FieldInput(f.name, f.shape, f.support, f.sizes, f.holes, spec.train.holes) for f in schema.modelled]
    dropped = spec.network.drop_condition
    condition = (
        Condition([FieldInput(f.name, f.shape, f.support, f.sizes, True, dropped) for f in schema.conditions], dropped)
        if schema.conditions
        else None
    )
    c = condition.width if condition else 0
    classes = schema.label.sizes[0] if schema.label else 0
    _check_label(spec, schema)
    if (spec.network.name == "factors") != (spec.latent.name == "factors"):
        raise BadInput("network factors and latent factors go together; name both with network.name and latent.name")
    network = choose("network", spec.network.name, NETWORKS)(spec, inputs, c)
    nets = Parts(spec.network, network.levels)
    choose("posterior", spec.latent.posterior, POSTERIORS)
    latents = choose("latent", spec.latent.name, LATENTS)(spec.latent, network.features, c + classes, nets)
    if classes:
        latents = labelled(
            latents, classes, nets.head(network.features + c, classes), spec.latent.label_prior == "learned"
        )
    encoder = Encoder(inputs, network.encoder)
    if spec.objective.name == "dreg" and len(latents.movable) > 1:
        raise BadInput("objective dreg is exact for one latent variable only; use objective.name=iwae with this latent")
    decoder = network.decoder(latents.shape, c + classes, heads)
    missing = Missingness(schema.modelled) if spec.data.missingness == "not-at-random" else None
    if missing is not None and not missing.fields:
        raise BadInput("data.missingness=not-at-random: no value is missing in these rows; leave it out")
    if missing is not None and isinstance(decoder, Autoregressive):
        raise BadInput(
            "data.missingness=not-at-random: needs entries that are independent given z; use network.name=mlp"
        )
    if spec.latent.posterior != "diagonal" and all(isinstance(b.family, Diagonal | None) for b in latents.blocks):
        raise BadInput(
            f"latent.posterior={spec.latent.posterior}: latent {spec.latent.name} has a posterior of its own; leave it out, or "
            "use latent.name=gaussian"
        )
    give_prior(spec, Place(latents, encoder.net, encoder.shape, c + classes, classes))
    return VAE(encoder, latents, decoder, condition, rows_in_flight(spec, heads), missing)


def _check_label(spec: Spec, schema: Schema) -> None:
    """A label and the objective that sums over it go together."""
    kind = choose("objective", spec.objective.name, OBJECTIVES)
    if schema.label is None:
        if kind is Enumerated:
            raise BadInput(
                "objective enumerated sums over a label, and there is none; name its column with --label COLUMN"
            )
        return
    classes = schema.label.sizes[0]
    if issubclass(kind, Bound) and kind.pairs and classes * spec.train.batch > PAIRS:
        raise BadInput(
            f"objective {spec.objective.name} compares each of {classes} classes of every row of a batch with all others, which "
            f"takes too much memory for {spec.train.batch} rows; give train.batch of {max(2, PAIRS // classes)} or fewer, or use "
            "objective.name=enumerated"
        )


def give_prior(spec: Spec, place: Place) -> None:
    """The first variable gets the prior that is named, where that is not the latent's own."""
    block = place.block
    prior = choose("prior", spec.latent.prior, PRIORS)(spec.latent, place)
    wanted = {"latent.prior": (spec.latent.prior, prior)}
    if spec.latent.refit not in ("no", "auto", "if-needed"):
        with torch.random.fork_rng(
            devices=()
        ):  # known now, not once the rest is trained; weights stay as they would be
            wanted["latent.refit"] = (
                spec.latent.refit,
                choose("prior", spec.latent.refit, PRIORS)(spec.latent, place),
            )
    for option, (name, law) in wanted.items():
        if law is not None and (not block.free or block.support != law.support):
            raise BadInput(
                f"{option}={name}: is no prior for latent {spec.latent.name}, which has its own; leave it out"
            )
    block.own = prior


def rows_in_flight(spec: Spec, heads: Mapping[str, Likelihood]) -> int:
    """How many rows a task may hold at once so that the values of the widest layer stay near 32 MB."""
    values = sum(head.width * math.prod(head.shape[1:]) for head in heads.values())
    if spec.network.name == "conv":
        values = max(values, spec.network.channels[0] * math.prod(next(iter(heads.values())).shape[1:]))
    return max(16, min(4096, (8 << 20) // values))


def make_objective(spec: ObjectiveSpec, schema: Schema, features: Features | None = None) -> Objective:
    """The objective of that name, and on top of it what looks at pictures, where that is asked for. ``features`` is any network
    from pictures in [0, 1] to maps."""
    kind = choose("objective", spec.name, OBJECTIVES)
    summed = schema.label is not None and issubclass(kind, Bound)
    bound = Enumerated.over(kind, spec) if summed else kind.make(spec)
    if features is not None and not spec.perceptual:
        raise BadInput("features: a feature network does nothing without objective.perceptual, its weight; give one")
    asked = [f"objective.{name}" for name in ("critic", "perceptual") if getattr(spec, name)]
    if not asked:
        return bound
    pictures = [field for field in schema.modelled if len(field.shape) > 1]
    if not pictures or len({field.shape[1:] for field in pictures}) > 1:
        out = "leave it (or the cure blur) out"
        raise BadInput(f"{asked[0]}: looks at pictures (fields of one spatial shape), and these are none; {out}")
    if isinstance(bound, Enumerated):
        raise BadInput(
            f"{asked[0]}: looks at one picture a row, and a label is summed over all of its classes; leave it out, or "
            "condition on the label with --given"
        )
    # One that bends gradients on their way would bend these too.
    if not isinstance(bound, Bound) or type(bound).per_row is not Bound.per_row or isinstance(bound, Dreg):
        able = "elbo, iwae, beta_tc or mmd"
        raise BadInput(f"{asked[0]}: cannot be added to objective {spec.name}; use objective.name={able}")
    channels, space = sum(field.shape[0] for field in pictures), pictures[0].shape[1:]
    if spec.perceptual and features is None:
        features = read_features(spec.perceptual_file, (channels, *space))
    critic = None
    if spec.critic:
        if min(space) < 2 ** len(spec.critic_channels):
            raise BadInput(
                f"objective.critic_channels has {len(spec.critic_channels)} halvings, too many for "
                f"{' x '.join(map(str, space))}; name fewer"
            )
        critic = PatchCritic(channels, space, spec.critic_channels)
    views = {field.name: view(field) for field in pictures}
    return Sharpened(bound, views, critic, spec.critic, spec.critic_from, features, spec.perceptual)


def view(field: Field) -> View:
    """How the values of a field of pictures become numbers in [0, 1]."""
    if isinstance(field.transform, Dequantise):
        return View(field.transform.scale, field.transform.loc)
    if isinstance(field.transform, Binarise):
        return View(1.0, 0.0, field.transform.dynamic)
    return View(0.5, 0.5) if field.support == "levels" else View(1.0, 0.0)


def read_features(path: str | None, shape: tuple[int, ...]) -> Features:
    """The network of a file that ``evaluate`` wrote."""
    if path is None:
        raise BadInput(
            "objective.perceptual: no feature network; name objective.perceptual_file, or in Python give fit(features=...)"
        )
    from latelier.fidelity.extractor import Maps, read_extractor  # here: most fits look at no features

    file = Path(path).expanduser()
    if not file.is_file():
        raise BadInput(
            f"objective.perceptual_file={path}: no such file; latelier evaluate MODEL DATA --features FILE writes one"
        )
    return Maps(read_extractor(file, shape))


def fit_to_data(settings: Mapping[str, Any], kind: Kind[Any], schema: Any, rows: int) -> tuple[Spec, Any]:
    """The user's settings over what suits the data, and the schema with the likelihoods that were asked for.

    Likelihoods are named per field (``likelihood.image=logistic``) or column; ``head.image.scale=shared`` sets a head's option.
    """
    purpose = kind.purposes(schema, rows).get(Spec.of(settings).purpose, {})
    asked = Spec.of(settings, purpose)
    for name, likelihood in asked.likelihood.items():
        head = choose("likelihood", likelihood, LIKELIHOODS)
        schema = kind.with_likelihood(schema, name, likelihood, head.support)
    for name, options in asked.head.items():
        choose("field", name, {f.name: f for f in schema.modelled})
        fields = tuple(
            f.model_copy(update={"options": {**f.options, **options}}) if f.name == name else f for f in schema.fields
        )
        schema = schema.with_fields(fields)
    summed = {"objective.name": "enumerated"} if schema.label else {}
    return Spec.of(settings, {**kind.defaults(schema, rows, asked.size), **summed, **purpose}), schema


def choose(what: str, name: str, table: Mapping[str, Any]) -> Any:
    """The entry of that name; BadInput names the nearest."""
    if name not in table:
        raise unknown(what, name, table)
    return table[name]
