"""Faults of the latent: collapse, codes or conditions that the decoder ignores, the KL's weight, holes in the prior."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from latelier.doctor.advice import resized
from latelier.doctor.evidence import Evidence
from latelier.doctor.finding import Finding, NotLooked
from latelier.doctor.probes import exchanged, foretold, told_apart, weight_of_kl
from latelier.doctor.verdicts import NOTHING, UNEVEN, UNUSED
from latelier.noise import seeded
from latelier.spec import CURES
from latelier.tasks.evaluate import ACTIVE
from latelier.wording import measured, number, percent

# Thresholds were set on models of other seeds than those of benchmarks/doctor.py (its --seed0 1000).
FREE = float(CURES["collapse"]["objective.free_nats"])  # of each dimension, that wake a collapsed latent at least cost
IGNORED = 0.1  # nats a row, below which it makes no difference whose code or condition a row is given
TOLD = 0.1  # share of a condition's variance that rows tell, below which they do not depend on it
LIGHT, HEAVY = 0.3, 2.5  # weights of the KL that are out of scale
HOLLOW, HOLED = 0.9, 0.97  # how well codes are told from draws of the prior, area under the curve
MANY_FREE = 0.25  # nats a dimension; with fewer, as wake a collapsed latent, the KL may well stay at them
CODES = 64  # most dimensions that are looked at, those with the largest variance


def collapse(e: Evidence) -> Iterator[Finding]:
    """No unit is active, or next to nothing passes: the decoder does without z."""
    f = e.figures
    kl, active, units = float(f["kl"]), int(f["active"]), int(f["units"])
    free = e.spec.objective.free_nats
    if _costs_nothing(e) or (active > 0 and kl >= NOTHING):
        return
    strong = e.spec.network.name == "autoregressive"
    instead = ": it reads the columns before each column instead." if strong else "."
    figures = {"active": active, "units": units, "kl": kl}
    if _coded(e):
        yield Finding(
            "posterior collapse",
            "poor",
            f"At {active} of {units} places the code varies with the row; the codes of a row cost {number(kl, 2)} nats.",
            "Every row has the same codes, so z says nothing and the decoder does without it" + instead,
            "Vectors of fewer numbers, between whose codes the way is short, or a grid of numbers (latent.name=fsq), whose "
            "codes do not die. Free nats are of no use: no training lowers the KL of codes.",
            {"latent.code_dims": 2, "train.rate": 2 * e.spec.train.rate},
            figures,
        )
        return
    changes = {"objective.free_nats": FREE if free < FREE / 2 else 2 * free}
    if e.spec.objective.beta > 1:
        changes |= {"objective.beta": 1.0}
    yield Finding(
        "posterior collapse",
        "poor",
        f"{active} of {units} latent units vary with the row (variance of the posterior's mean above {ACTIVE:g}); the code "
        f"of a row carries {number(kl, 2)} nats.",
        "The posterior of every row is the prior, so z says nothing and the decoder does without it" + instead,
        "Let so many nats of each dimension cost nothing (as --cure collapse does): a dimension that is used so far is free, and "
        "one that idles gains nothing.",
        changes,
        figures,
    )


def ignores_z(e: Evidence) -> Iterator[Finding]:
    """Codes differ, and it makes no difference to the decoder whose code it reads."""
    loss = exchanged(e.vae, e.any_rows, of_z=True)
    if loss.value > max(IGNORED, 2 * loss.error):
        return
    kl = float(e.figures["kl"])
    yield Finding(
        "decoder ignores z",
        "poor",
        f"Rows that are given each other's codes lose {measured(loss.value, loss.error)} nats of log p(x | z), while a code "
        f"costs {number(kl, 2)} nats.",
        "The decoder does not read z: codes and rows have next to no mutual information through it, whatever the KL says. "
        "Samples do not depend on z either.",
        "Let z enter every layer of the decoder, and make it a weaker one.",
        {
            "network.skip": True,
            **({"network.name": "mlp"} if e.spec.network.name == "autoregressive" else {}),
        },
        {"loss": loss.value, "error": loss.error, "kl": kl},
    )


def ignores_c(e: Evidence) -> Iterator[Finding]:
    """The condition tells of the row, and the decoder does not listen."""
    if e.vae.condition is None:
        raise NotLooked("the model has no condition")
    with torch.no_grad():
        c = e.vae.embed(e.any_rows)
    assert c is not None
    loss = exchanged(e.vae, e.any_rows, of_z=False)
    if loss.value > max(IGNORED, 2 * loss.error):
        return
    share = foretold(e.vae.encoder.read(e.any_rows).flatten(1).double().cpu().numpy(), c.double().cpu().numpy())
    if share < TOLD:
        return  # rows do not depend on it
    names = ", ".join(name for f in e.schema.conditions for name in (f.columns or (f.name,)))
    yield Finding(
        "decoder ignores c",
        "poor",
        f"Rows that are given each other's condition ({names}) lose {measured(loss.value, loss.error)} nats of "
        f"log p(x | z, c), though the nearest rows tell {percent(share)} of the condition's variance.",
        "What is asked for with --given is not obeyed: the decoder reads from z what c should tell it.",
        "A smaller code, whose every nat costs, leaves to c what c can say; and train longer.",
        {**resized(e.spec, 0.25), "train.epochs": 2 * e.spec.train.epochs},
        {"loss": loss.value, "error": loss.error, "told": share},
    )


def kl_weight(e: Evidence) -> Iterator[Finding]:
    """The width of posteriors tells the weight of the KL under which they were trained; free nats may leave it none."""
    o, f = e.spec.objective, e.figures
    if _costs_nothing(e):
        raise NotLooked("this latent has no KL")
    below = [p for name, p in f.get("kl_parts", {}).items() if e.vae.label is None or name != e.vae.label.name]
    free = o.free_nats * (sum(map(len, below)) if o.free_by == "dimension" else len(below))
    if o.free_nats > MANY_FREE and float(f["kl"]) < 1.1 * free:
        yield Finding(
            "free nats above the KL",
            "fair",
            f"{number(free)} nats of KL cost nothing (objective.free_nats={o.free_nats:g}), and codes carry "
            f"{number(float(f['kl']))}.",
            "The KL never costs anything, so nothing keeps codes near the prior, and the bound is not what is trained.",
            "Make fewer nats free.",
            {"objective.free_nats": round(o.free_nats / 8, 4)},
            {"free": free, "kl": float(f["kl"])},
        )
        return
    try:
        weight = weight_of_kl(e.vae, e.any_rows)
    except NotLooked:
        if o.beta > HEAVY and float(f["kl"]) < NOTHING:
            weight = o.beta
        else:
            raise
    if LIGHT <= weight <= HEAVY:
        return
    heavy = weight > HEAVY
    asked = f"objective.beta={o.beta:g}" + (f", objective.capacity={o.capacity:g}" if o.capacity is not None else "")
    yield Finding(
        "KL weight too large" if heavy else "KL weight too small",
        "fair",
        f"Posteriors are as {'wide' if heavy else 'narrow'} as is best where a nat of KL weighs {number(weight, 2)} nats of "
        f"log p(x | z); in a bound it weighs 1 (asked for: {asked}). {int(f['active'])} of {int(f['units'])} units are active.",
        "Codes keep less of a row than the bound would let them, which blurs what comes back."
        if heavy
        else "Codes keep more of a row than the bound would let them: rows come back well, and samples from the prior, where "
        "such codes do not lie, are poor.",
        "Weigh the KL as in the bound.",
        {"objective.beta": 1.0, **({"objective.capacity": None} if o.capacity is not None else {})},
        {"weight": weight, "beta": o.beta},
    )


def prior_holes(e: Evidence) -> Iterator[Finding]:
    """Trees tell codes of rows from draws of the prior, under the same conditions and seen labels."""
    rows = e.any_rows
    with torch.no_grad(), seeded(0):
        steps = e.vae.generate(rows).steps
    codes = e.codes
    drawn = {name: steps[name].value for name in codes}
    if not all(value.is_floating_point() for value in codes.values()):
        raise NotLooked("these codes are no numbers")
    one, two = (
        torch.cat([value.flatten(1) for value in side.values()], 1).double().cpu().numpy() for side in (codes, drawn)
    )
    kept = (one.var(0) + two.var(0)).argsort()[::-1][:CODES]
    auc = told_apart(one[:, kept], two[:, kept])
    if auc < HOLLOW:
        return
    changes: dict[str, Any] = {"latent.dims": max(1, int(float(e.figures["active"])) // 2)}
    if e.spec.objective.beta < 1:
        changes = {"objective.beta": 1.0}
    elif _coded(e):
        fitted = e.vae.latents.first.own is not None
        changes = {"latent.attention": 2 * e.spec.latent.attention} if fitted else {"latent.refit": "auto"}
    elif "latent.dims" not in resized(e.spec, 0.5):
        changes = resized(e.spec, 0.5)
    elif e.spec.latent.name == "point":
        changes = {"latent.name": "gaussian"}
    wide = float(one[:, kept].std() / max(two[:, kept].std(), 1e-9))
    yield Finding(
        "prior holes",
        "poor" if auc > HOLED else "fair",
        f"Trees tell the codes of rows from draws of the prior with an area under the curve of {number(auc, 3)} (0.5 is "
        f"chance); codes spread {number(wide, 2)} times as wide as the prior.",
        "The prior puts much of its mass where no row has its code, and the decoder was never trained there: samples from it "
        "are poor though rows come back well.",
        "A prior fitted to the codes of the trained model, and large enough for what they have in common (latelier refit)."
        if _coded(e)
        else "Weigh the KL as in the bound, or let dimensions that idle go; a richer prior fills holes as well.",
        changes,
        {"auc": auc, "spread": wide},
    )


def dead_codes(e: Evidence) -> Iterator[Finding]:
    """Codebooks of which few codes are chosen: by those of held-out rows."""
    books = e.figures.get("books")
    if not books:
        raise NotLooked("the latent has no codebook")
    for name, every in books.items():
        for number_of, book in enumerate(every):
            size, used, perplexity = (float(book[key]) for key in ("codes", "used", "perplexity"))
            if used >= UNUSED and perplexity / size >= UNEVEN:
                continue
            yield Finding(
                "dead codes",
                "poor",
                f"{percent(used)} of the {size:g} codes of book {number_of + 1} of {name} occur in held-out rows; their "
                f"perplexity is {number(perplexity, 3)}.",
                "Most of the book is hardly ever chosen, so codes say far less than they could.",
                "A smaller book, or fewer numbers in each vector, so that codes lie nearer to what they stand for.",
                {"latent.codes": max(2, int(2 * perplexity)), "latent.code_dims": 4},
                {"used": used, "codes": size, "perplexity": perplexity},
            )


def _coded(e: Evidence) -> bool:
    """Is z made of codes, whose KL no training lowers?"""
    return e.vae.latents.first.support == "codes"


def _costs_nothing(e: Evidence) -> bool:
    """A plain autoencoder's KL is 0 by convention."""
    return float(e.figures["kl"]) == 0.0
