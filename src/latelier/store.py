"""A model folder <-> (VAE, Schema, Spec), and checkpoints. JSON and safetensors: loading never runs code.

``model.json`` names its weights file by their digest, so one rename commits both: whoever dies at whatever moment, the
folder holds the old model or the new one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from latelier.build import build
from latelier.data.schema import Schema
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.spec import Spec
from latelier.vae import VAE

FORMAT = 1
UPGRADES: list[Callable[[dict[str, Any]], dict[str, Any]]] = []  # UPGRADES[i] turns format i + 1 into i + 2
MODEL = "model.json"
CHECKPOINT = "checkpoint.safetensors"
PREVIOUS = "checkpoint.previous.safetensors"
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # what a write says where there is no room


@dataclass(frozen=True)
class Stored:
    """What a model folder holds. ``figures`` are those of the best model on held-out rows."""

    spec: Spec
    schema: Schema
    figures: Mapping[str, Any] = field(default_factory=dict)


def save_model(folder: Path, vae: VAE, stored: Stored) -> None:
    """Writes weights, then the page that names them, then removes what nothing names any more."""
    save_state(folder, dict(vae.state_dict()), stored)


def save_state(folder: Path, state: Mapping[str, Tensor], stored: Stored) -> None:
    """The same from a state dictionary."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, tensor in state.items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise FloatingPointError(f"weight {name} is not finite; the model was not written")
    data = save({k: v.detach().cpu().contiguous() for k, v in state.items()})
    digest = hashlib.sha256(data).hexdigest()
    name = f"weights-{digest[:12]}.safetensors"
    if not (folder / name).exists():
        write_atomically(folder / name, data)
    page = {
        "format": FORMAT,
        "latelier": version("latelier"),
        "kind": stored.schema.kind,
        "weights": {"file": name, "sha256": digest},
        "spec": stored.spec.model_dump(mode="json"),
        "schema": stored.schema.model_dump(mode="json"),
        "figures": dict(stored.figures),
    }
    write_atomically(folder / MODEL, json.dumps(page, indent=1, allow_nan=False).encode())
    for old in folder.glob("weights-*.safetensors"):
        if old.name != name:
            old.unlink(missing_ok=True)


def load_model(folder: Path) -> tuple[VAE, Stored]:
    """The model of a folder, in evaluation mode. BadInput where it is not one, is newer, broken or has been changed."""
    page = read_page(folder)
    path = folder / page["weights"]["file"]
    if Path(page["weights"]["file"]).name != page["weights"]["file"]:
        raise BadInput(f"{folder / MODEL}: the weights file must lie in the model's own folder")
    if not path.is_file():
        raise BadInput(f"{path}: the weights are missing; copy the whole model folder")
    data = path.read_bytes()
    if hashlib.sha256(data).hexdigest() != page["weights"]["sha256"]:
        raise BadInput(
            f"{path}: the weights are not those that were saved (digest differs); copy the model folder again"
        )
    stored = described(folder / MODEL, page)
    try:
        vae = build(stored.spec, stored.schema)
        tensors, _ = read_tensors(path)
        vae.load_state_dict(tensors)
    except (RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:160]
        raise BadInput(f"{path}: the weights do not fit the model that {MODEL} describes ({reason})") from None
    return vae.eval(), stored


def load_unfinished(folder: Path) -> tuple[VAE, Stored]:
    """The running average of the newest checkpoint, of a run that has not left a model, and may have none to leave."""
    tensors, state = load_checkpoint(folder)
    stored = described(folder / CHECKPOINT, state)
    vae = build(stored.spec, stored.schema)
    vae.load_state_dict({k.removeprefix("average."): v for k, v in tensors.items() if k.startswith("average.")})
    return vae.eval(), stored


def read_page(folder: Path) -> dict[str, Any]:
    """``model.json`` brought to the present format."""
    path = folder / MODEL
    if not folder.exists():
        raise BadInput(f"{folder}: no such folder; a model is the folder that 'latelier fit --out' wrote")
    if not path.is_file():
        unfinished = (folder / CHECKPOINT).exists()
        hint = f"; its training did not finish: latelier fit --resume {folder}" if unfinished else ""
        raise BadInput(
            f"{folder}: this is not a model folder ({MODEL} is not there){hint or '; name the folder that fit wrote'}"
        )
    try:
        page = json.loads(path.read_text("utf-8"))
        number = page["format"]
        if not isinstance(number, int) or number < 1:
            raise TypeError
        if number > FORMAT:
            raise _newer(path, page)
        for upgrade in UPGRADES[number - 1 :]:
            page = upgrade(page)
        page["weights"]["file"] + page["weights"]["sha256"], page["spec"], page["schema"]["kind"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path}: not a readable model page ({type(error).__name__}: {error}); copy the folder again"
        ) from None
    return dict(page)


def _newer(path: Path, page: Mapping[str, Any]) -> BadInput:
    return BadInput(
        f"{path}: written by a newer latelier ({page.get('latelier')}, format {page['format']}; this one reads up to {FORMAT}); "
        "upgrade with pip install -U latelier"
    )


def described(where: Path, page: Mapping[str, Any]) -> Stored:
    """The spec, schema and figures that a model's page or a checkpoint spells out. BadInput where it does not add up."""
    kind = KINDS.get(page["schema"].get("kind"))
    if kind is None:
        raise BadInput(f"{where}: unknown kind of data {page['schema'].get('kind')!r}")
    try:
        return Stored(
            Spec.model_validate(page["spec"]), kind.schema.model_validate(page["schema"]), page.get("figures", {})
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(
            f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg'].lower()}; the page was changed by hand?"
        ) from None


def save_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """All that training needs to go on, as one file; the one before is kept beside it."""
    page = {"format": str(FORMAT), "latelier": version("latelier"), "state": json.dumps(state, allow_nan=False)}
    data = save({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, page)
    path = folder / CHECKPOINT
    temporary = write_beside(path, data)
    if path.exists():
        _keep(path, folder / PREVIOUS)
    _commit(temporary, path)


def _keep(path: Path, previous: Path) -> None:
    """The file gets a second name, so that it is there under the first at every moment."""
    link = previous.with_name(f".{previous.name}.{os.getpid()}.partial")
    try:
        os.link(path, link)
    except OSError:  # a file system without hard links
        link = path
    os.replace(link, previous)
    link.unlink(missing_ok=True)  # still there if both were names of one file already: renaming does nothing then


def load_checkpoint(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The newest readable checkpoint of a folder. BadInput where there is none, or it is of a newer latelier."""
    for name in (CHECKPOINT, PREVIOUS):
        if (folder / name).is_file():
            try:
                tensors, page = read_tensors(folder / name)
                state, number = json.loads(page["state"]), int(page.get("format", 1))
            except (SafetensorError, KeyError, ValueError):
                continue
            if number > FORMAT:
                raise _newer(folder / name, page)
            return tensors, state
    raise BadInput(f"{folder}: no checkpoint to resume from; start with latelier fit DATA --out {folder}")


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """(tensors by name, metadata) of a safetensors file."""
    with safe_open(path, framework="pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118


def write_atomically(path: Path, data: bytes) -> None:
    """The file is the old one or the new one, never a part. A full disk raises BadInput with the bytes that were needed."""
    _commit(write_beside(path, data), path)


def write_beside(path: Path, data: bytes) -> Path:
    """Writes and syncs a temporary file in the same folder; nothing is left behind if that fails."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        with open(temporary, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        with suppress(OSError):
            temporary.unlink()
        told = f"{path}: cannot be written ({error.strerror or error})"
        if error.errno not in FULL:
            raise BadInput(f"{told}; name a place that can be written to") from error
        raise BadInput(
            f"{told}: {len(data):,} bytes were needed; free some space, then resume; what was there before is whole"
        ) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary


def _commit(temporary: Path, path: Path) -> None:
    os.replace(temporary, path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def sweep(folder: Path) -> None:
    """Removes temporary files that a killed process left in the folder."""
    for left in folder.glob(".*.partial"):
        left.unlink(missing_ok=True)
