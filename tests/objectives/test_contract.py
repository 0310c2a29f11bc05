"""What every objective in the table promises, on a model small enough to know."""

import copy

import pytest
import torch

from latelier.batch import Batch
from latelier.build import build, make_objective
from latelier.data.schema import Field, Schema
from latelier.errors import BadInput
from latelier.latents import LATENTS
from latelier.objectives import OBJECTIVES
from latelier.spec import ObjectiveSpec, Spec

LABEL = Field(name="label", shape=(1,), support="category", sizes=(3,), columns=("kind",), role="label")


@pytest.fixture
def model(request):
    torch.manual_seed(0)
    name = getattr(request.node, "callspec", None) and request.node.callspec.params.get("name")
    real = Field(name="real", shape=(5,), support="real", likelihood="gaussian")
    fields, objective = ((real, LABEL), name) if name == "enumerated" else ((real,), "elbo")
    settings = {"network.hidden": (16,), "latent.dims": 3, "objective.name": objective}
    return build(Spec.of(settings), Schema(kind="tables", fields=fields))


@pytest.fixture
def batch():
    generator = torch.Generator().manual_seed(1)
    return Batch({"real": torch.randn(12, 5, generator=generator)})


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_loss_is_minus_the_mean_over_rows(name, model, batch):
    objective = OBJECTIVES[name].make(ObjectiveSpec(draws=4))
    torch.manual_seed(2)
    per_row = objective.per_row(model, batch)
    torch.manual_seed(2)
    assert per_row.shape == (12,)
    assert torch.allclose(objective(model, batch), -per_row.mean())


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_reach_every_part(name, model, batch):
    OBJECTIVES[name].make(ObjectiveSpec(draws=4))(model, batch).backward()
    grads = {k: p.grad for k, p in model.named_parameters() if p.numel()}
    assert all(g is not None and torch.isfinite(g).all() for g in grads.values())
    for part in ("encoder", "latents", "decoder"):
        assert any((g != 0).any() for k, g in grads.items() if k.startswith(part))


@pytest.mark.parametrize("name", OBJECTIVES)
def test_training_raises_the_objective(name, model, batch):
    objective = OBJECTIVES[name].make(ObjectiveSpec(draws=4))
    optimiser = torch.optim.Adam(model.parameters(), 1e-2)

    def mean() -> float:
        with torch.no_grad():
            return float(torch.stack([objective.per_row(model, batch).mean() for _ in range(20)]).mean())

    before = mean()
    for _ in range(150):
        optimiser.zero_grad()
        objective(model, batch).backward()
        optimiser.step()
    assert mean() > before + 1.0


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_placeholder_under_a_mask_changes_nothing(name, model, batch):
    seen = torch.rand(12, 5, generator=torch.Generator().manual_seed(3)) > 0.4
    objective = OBJECTIVES[name].make(ObjectiveSpec(draws=4))
    values = []
    for placeholder in (0.0, 1e6):
        torch.manual_seed(4)
        values.append(
            objective.per_row(
                model, Batch({"real": torch.where(seen, batch.fields["real"], placeholder)}, {"real": seen})
            )
        )
    assert torch.equal(*values)


FIELDS = (
    Field(name="real", shape=(3,), support="real", likelihood="gaussian"),
    Field(name="count", shape=(2,), support="count", likelihood="negative_binomial"),
    Field(name="category", shape=(2,), support="category", sizes=(3, 4), likelihood="categorical"),
)
GIVEN = Field(name="given", shape=(1,), support="category", sizes=(3,), role="condition")


@pytest.mark.parametrize("labelled", [False, True], ids=["", "label"])
@pytest.mark.parametrize("given", [False, True], ids=["", "given"])
@pytest.mark.parametrize("network", ["mlp", "autoregressive"])
@pytest.mark.parametrize("latent", [name for name in LATENTS if name not in ("factors", "hierarchy")])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_composes_with_latents_likelihoods_conditions_and_labels_or_says_why_not(
    name, latent, network, given, labelled
):
    torch.manual_seed(0)
    fields = (*FIELDS, *[GIVEN] * given, *[LABEL] * labelled)
    options = {"network": {"name": network, "hidden": (16,)}, "latent": {"name": latent, "dims": 2, "rungs": (2, 2)}}
    rows = Batch(
        {
            "real": torch.randn(8, 3),
            "count": torch.poisson(torch.full((8, 2), 3.0)),
            "category": torch.randint(0, 3, (8, 2)),
            **({"given": torch.randint(0, 3, (8, 1))} if given else {}),
            **({"label": torch.randint(0, 3, (8, 1))} if labelled else {}),
        },
        {"label": torch.arange(8)[:, None] < 3} if labelled else {},
    )

    def made():
        spec, schema = (
            Spec.of({**options, "objective": {"name": name, "draws": 2}}),
            Schema(kind="tables", fields=fields),
        )
        vae, objective = build(spec, schema), make_objective(spec.objective, schema)
        objective.check(vae.infer(rows))
        return vae, objective

    unsuited = (name, latent) == ("dreg", "ladder") or (name == "beta_tc" and latent != "gaussian")
    if unsuited or (name == "enumerated" and not labelled):
        with pytest.raises(BadInput, match=r"use [a-z.=]+|--label COLUMN"):
            made()
        return
    vae, objective = made()
    loss = objective(vae, rows)
    loss.backward()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(p.grad).all() for p in vae.parameters() if p.grad is not None)
    assert any((p.grad != 0).any() for p in vae.parameters() if p.grad is not None)


def test_schedules_are_plain_values_that_survive_a_copy(model, batch):
    objective = OBJECTIVES["elbo"].make(ObjectiveSpec(beta=2.0, anneal="linear"))
    objective.progress = 0.1
    assert copy.deepcopy(objective).progress == 0.1


@pytest.mark.parametrize(
    "name,options",
    [
        ("iwae", {"beta": 4.0}),
        ("dreg", {"beta": 4.0}),
        ("elbo", {"mutual": 2.0}),
        ("beta_tc", {"free_nats": 0.5}),
        ("mmd", {"capacity": 3.0}),
    ],
)
def test_what_an_objective_would_ignore_it_refuses(name, options):
    with pytest.raises(BadInput, match=rf"objective\.{next(iter(options))}: objective {name} does not read it"):
        OBJECTIVES[name].make(ObjectiveSpec(name=name, **options))
