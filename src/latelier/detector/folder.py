"""A detector's folder: JSON, safetensors, and the members as model folders. Loading never runs code."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from latelier.data.margins import Margins
from latelier.detector.density import COLUMNS, Density
from latelier.detector.reading import Reading
from latelier.errors import BadInput
from latelier.kinds import KINDS
from latelier.kinds.cells.plain import Plain
from latelier.kinds.tables import Tables
from latelier.model import Model
from latelier.store import write_atomically
from latelier.tasks.alarm import Usual

FORMAT = 4
PAGE = "detector.json"
ARRAYS = "arrays.safetensors"


def write(folder: Path, reading: Reading, density: Density, usual: Usual) -> None:
    """Writes the folder beside its place and moves it there. A detector that is there already is replaced."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists() and not empty(folder) and not (folder / PAGE).is_file():
        raise BadInput(f"{folder}: holds something that is not a detector; name another folder")
    place = Path(tempfile.mkdtemp(prefix=f".new-{folder.name}-", dir=folder.parent))
    try:
        names = [f"member-{number}" for number in range(len(density.members))]
        for name, member in zip(names, density.members, strict=True):
            member.save(place / name)
        known = {
            **density.margins.arrays(),
            "scores": usual.scores,
            "usual": usual.entries[COLUMNS],
            "usual_latent": np.array([usual.latent]),
            **({} if density.sides is None else {"sides": density.sides}),
        }
        data = save_arrays(known)
        write_atomically(place / ARRAYS, data)
        page = {
            "format": FORMAT,
            "latelier": version("latelier"),
            "schema": reading.schema.model_dump(mode="json"),
            "plain": reading.plain.model_dump(mode="json"),
            "apart": density.apart,
            "members": names,
            "weights": density.weights,
            "arrays": {"file": ARRAYS, "sha256": hashlib.sha256(data).hexdigest()},
        }
        write_atomically(place / PAGE, json.dumps(page, indent=1, allow_nan=False).encode())
        os.chmod(place, 0o755)
        if folder.exists():
            old = place.with_name(place.name.replace(".new-", ".old-", 1))
            folder.rename(old)
            place.rename(folder)
            shutil.rmtree(old)
        else:
            place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)


def read(folder: Path) -> tuple[Reading, Density, Usual, str]:
    """The same, and the digest of its arrays, by which it is known. BadInput where it is missing, newer, broken or changed."""
    page = read_page(folder)
    path = folder / Path(page["arrays"]["file"]).name
    try:
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        if digest != page["arrays"]["sha256"]:
            raise BadInput(f"{path}: not what was saved (digest differs); copy the detector's folder again")
        arrays = load_arrays(data)
        if page["format"] == 1:
            page, arrays = _of_format_2(page, arrays)
        if page["format"] == 2:
            page = _of_format_3(page)
        kind = KINDS[page["schema"]["kind"]]
        if not isinstance(kind, Tables):
            raise KeyError(page["schema"]["kind"])
        plain = Plain.model_validate(page["plain"])
        reading = Reading(kind, kind.schema.model_validate(page["schema"]), plain)
        margins, apart = Margins.from_arrays(arrays), float(page["apart"])
        weights = tuple(float(page["weights"][number]) for number in range(len(page["members"])))
        usual = Usual(arrays["scores"], {COLUMNS: arrays["usual"]}, float(arrays["usual_latent"][0]))
    except (OSError, KeyError, IndexError, TypeError, SafetensorError, ValidationError) as error:
        raise BadInput(
            f"{folder}: the detector is not whole ({type(error).__name__}: {str(error).splitlines()[0][:100]}); "
            "copy its folder again"
        ) from None
    members = [Model.load(folder / Path(name).name) for name in page["members"]]
    return reading, Density(margins, members, plain.owners, apart, weights, arrays.get("sides")), usual, digest


def read_page(folder: Path) -> dict[str, Any]:
    """``detector.json``. BadInput where it is not there, or of a newer latelier."""
    path = folder / PAGE
    if not path.is_file():
        raise BadInput(f"{folder}: not a detector ({PAGE} is not there); name the folder that detect wrote")
    try:
        page = dict(json.loads(path.read_text("utf-8")))
        number, _ = int(page["format"]), [page[key] for key in ("plain", "members", "arrays")]
    except (ValueError, KeyError, TypeError) as error:
        raise BadInput(
            f"{path}: not a readable page ({type(error).__name__}: {error}); copy the folder again"
        ) from None
    if number > FORMAT:
        raise BadInput(
            f"{path}: written by a newer latelier ({page.get('latelier')}); upgrade with pip install -U latelier"
        )
    return page


def empty(folder: Path) -> bool:
    return folder.is_dir() and not any(folder.iterdir())


def _of_format_2(page: dict[str, Any], arrays: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Format 1 knew tables alone, and kept costs where now there are scores."""
    schema = {"kind": "tables", "fields": [], **page["plain"]}
    scores = {
        "scores": -arrays["calibration"][::-1],
        "usual": -arrays["usual"],
        "usual_latent": -arrays["usual_latent"],
    }
    return {**page, "format": 2, "schema": schema, "apart": 0.0}, {**arrays, **scores}


def _of_format_3(page: dict[str, Any]) -> dict[str, Any]:
    """In format 2 all members counted alike."""
    members = len(page["members"])
    return {**page, "format": 3, "weights": [1 / members] * members}
