"""A run of training: what changes from step to step, begun afresh or put back from a checkpoint, and saved. N = rows."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from latelier.batch import Batch
from latelier.build import build, make_objective
from latelier.data.schema import Schema
from latelier.noise import Keyed
from latelier.objectives import Objective
from latelier.objectives.sharpened import Features
from latelier.spec import Spec
from latelier.store import Stored, load_checkpoint, save_checkpoint, save_state
from latelier.vae import VAE


@dataclass
class Run:
    """What changes from step to step."""

    vae: VAE
    average: VAE  # running average of the weights: the model that is kept
    objective: Objective
    optimiser: torch.optim.Optimizer
    rival: torch.optim.Optimizer | None = None  # of a critic, which is trained against the model
    epoch: int = 0
    cursor: int = 0  # rows of this epoch that are done
    step: int = 0
    seconds: float = 0.0
    skipped: int = 0  # steps in a row, just now
    lost: int = 0  # steps that were skipped, in all
    best: float = -math.inf
    best_epoch: int = 0
    best_state: dict[str, Tensor] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def weights(self) -> tuple[list[Tensor], list[Tensor]]:
        """The running average and the weights, in one order; listed once, as walking through the modules takes time."""
        return list(self.average.parameters()), list(self.vae.parameters())


def start(spec: Spec, schema: Schema, example: Batch, device: torch.device, features: Features | None = None) -> Run:
    """A fresh model and optimiser; the seed and the ``example`` rows (settled) are the whole of what decides them."""
    torch.manual_seed(spec.train.seed)
    vae = build(spec, schema)
    rows = schema.refine(example, Keyed.of(example))
    vae.begin(rows)
    objective = make_objective(spec.objective, schema, features).to(device)
    few = rows.take(torch.arange(min(2, len(rows))))
    with torch.no_grad():
        objective.check(vae.eval().infer(few, noise=Keyed.of(few)))
    vae = vae.to(device).train()
    opposed = objective.opposed()
    own = {id(p) for p in opposed}
    parameters = [p for p in (*vae.parameters(), *objective.parameters()) if p.numel() and id(p) not in own]
    optimiser = torch.optim.AdamW(parameters, lr=spec.train.rate, weight_decay=spec.train.decay, fused=True)
    # A short memory of gradients, as what a critic shall tell apart moves under it (Radford et al. 2016).
    how: dict[str, Any] = dict(lr=spec.objective.critic_rate, betas=(0.5, 0.9), weight_decay=0.0, fused=True)
    rival = torch.optim.AdamW(opposed, **how) if opposed else None
    average = copy.deepcopy(vae).eval().requires_grad_(False)
    return Run(vae, average, objective, optimiser, rival)


def save(run: Run, spec: Spec, schema: Schema, source: Mapping[str, Any], folder: Path, improved: bool = False) -> None:
    """The best model if it is new, then everything that training needs to go on."""
    if improved:
        save_state(folder, run.best_state, Stored(spec, schema, run.figures))
    tensors: dict[str, Tensor] = {"random.cpu": torch.get_rng_state()}
    if run.vae.device.type == "cuda":
        tensors["random.cuda"] = torch.cuda.get_rng_state(run.vae.device)
    for name, module in (("vae", run.vae), ("average", run.average), ("objective", run.objective)):
        tensors |= {f"{name}.{k}": v for k, v in module.state_dict().items()}
    for name, optimiser in optimisers(run).items():
        for number, moments in optimiser.state_dict()["state"].items():
            tensors |= {f"{name}.{number}.{k}": v for k, v in moments.items()}
    state = {
        **{k: getattr(run, k) for k in ("epoch", "cursor", "step", "seconds", "lost", "best_epoch", "figures")},
        "best": None if math.isinf(run.best) else run.best,
        "spec": spec.model_dump(mode="json"),
        "schema": schema.model_dump(mode="json"),
        "source": dict(source),
    }
    save_checkpoint(folder, tensors, state)


def restore(run: Run, folder: Path) -> None:
    """Puts a checkpoint back into a freshly started run, the random state last."""
    tensors, state = load_checkpoint(folder)
    for name, module in (("vae", run.vae), ("average", run.average), ("objective", run.objective)):
        module.load_state_dict({k.removeprefix(f"{name}."): v for k, v in tensors.items() if k.startswith(f"{name}.")})
    for owner, optimiser in optimisers(run).items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(f"{owner}."):
                _, number, name = key.split(".", 2)
                moments.setdefault(int(number), {})[name] = value
        optimiser.load_state_dict({**optimiser.state_dict(), "state": moments})
    for key in ("epoch", "cursor", "step", "seconds", "best_epoch", "figures"):
        setattr(run, key, state[key])
    run.lost = state.get("lost", 0)  # which older checkpoints did not count
    run.best = -math.inf if state["best"] is None else state["best"]
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and run.vae.device.type == "cuda":
        torch.cuda.set_rng_state(tensors["random.cuda"], run.vae.device)


def optimisers(run: Run) -> dict[str, torch.optim.Optimizer]:
    """By the name under which a checkpoint holds their state."""
    return {"optimiser": run.optimiser} | ({} if run.rival is None else {"rival": run.rival})
