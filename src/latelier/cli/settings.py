"""What people type, turned into the settings of a run: short options, --set a.b=v, a file of settings, NAME=VALUE pairs."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Group, Parameter

from latelier.errors import BadInput

DATA, MODEL, TRAINING = Group("Data", sort_key=2), Group("Model", sort_key=3), Group("Training", sort_key=4)
Names = list[str] | None
_HELD = re.compile(r"([^=<>]+?)(=|>=|<=|>|<)(.+)")


def _in(group: Group, text: str, name: str | tuple[str, ...] | None = None) -> Parameter:
    return Parameter(name=name, help=text, group=group)


@Parameter(name="*")
@dataclass(frozen=True)
class Settings:
    """The options of ``Spec`` that have a short name. None: not given, the data decide."""

    kind: Annotated[
        str | None, _in(DATA, "images, tables or traffic; recognised if not given", ("--kind", "--preset"))
    ] = None
    given: Annotated[
        Names, _in(DATA, "column (or: label) that the model is conditioned on; repeat it or use commas")
    ] = None
    label: Annotated[
        str | None,
        _in(DATA, "column (or: label) of classes that some rows lack; the model learns to tell it, see predict"),
    ] = None
    ignore: Annotated[Names, _in(DATA, "column that is left out; repeat it or use commas")] = None
    missing: Annotated[Names, _in(DATA, "a further spelling of a missing cell, such as '?'; may be repeated")] = None
    missingness: Annotated[
        Literal["at-random", "not-at-random"] | None,
        _in(DATA, "not-at-random: a cell's own value may be why it is missing, as when large incomes are not told"),
    ] = None
    pixels: Annotated[tuple[int, int] | None, _in(DATA, "height and width that pictures are brought to")] = None
    labels: Annotated[str | None, _in(DATA, "a CSV with columns file,label for a folder of pictures")] = None
    holdout: Annotated[float | None, _in(DATA, "share of rows held out where --test is not given")] = None
    size: Annotated[Literal["small", "medium", "large"] | None, _in(MODEL, "how large networks and training are")] = (
        None
    )
    purpose: Annotated[
        Literal["any", "imputation", "synthesis"] | None,
        _in(
            MODEL,
            "what the model shall be best at: imputation learns from rows with holes, synthesis makes rows that could be real",
            "--for",
        ),
    ] = None
    cure: Annotated[
        Literal["collapse", "blur"] | None,
        _in(
            MODEL,
            "collapse: makes z tell something where a model ignores it; blur: makes pictures sharper, at some nats",
        ),
    ] = None
    network: Annotated[str | None, _in(MODEL, "mlp, conv, factors or autoregressive")] = None
    latent: Annotated[
        str | None, _in(MODEL, "gaussian, ladder, hierarchy, codes, fsq, factors or point (a plain autoencoder)")
    ] = None
    dims: Annotated[int | None, _in(MODEL, "dimensions of the latent variable")] = None
    prior: Annotated[
        str | None, _in(MODEL, "of z: standard, mixture, vamp, flow or second-stage, trained with the rest")
    ] = None
    posterior: Annotated[str | None, _in(MODEL, "family of q(z | x): diagonal, full or flow")] = None
    refit: Annotated[
        str | None,
        _in(MODEL, "fit the prior anew to the trained model's codes: auto (the best of several) or its name"),
    ] = None
    likelihood: Annotated[Names, _in(MODEL, "FIELD=NAME, such as image=logistic; may be repeated")] = None
    objective: Annotated[str | None, _in(MODEL, "elbo, iwae, dreg, beta_tc, mmd or enumerated")] = None
    beta: Annotated[float | None, _in(MODEL, "weight of the KL")] = None
    draws: Annotated[int | None, _in(MODEL, "draws of z per row in training; the k of IWAE")] = None
    epochs: Annotated[int | None, _in(TRAINING, "passes over the data")] = None
    minutes: Annotated[
        float | None, _in(TRAINING, "stop after so long (and a quarter of it for a prior fitted then: codes, --refit)")
    ] = None
    batch: Annotated[int | None, _in(TRAINING, "rows per step")] = None
    rate: Annotated[float | None, _in(TRAINING, "learning rate")] = None
    seed: Annotated[int | None, _in(TRAINING, "decides weights, split and order of rows")] = None
    patience: Annotated[int | None, _in(TRAINING, "epochs without a better held-out bound before it stops")] = None
    precision: Annotated[Literal["auto", "float32", "bfloat16"] | None, _in(TRAINING, "of matrix products")] = None
    device: Annotated[str | None, _in(TRAINING, "auto, cpu, cuda")] = None
    threads: Annotated[int | None, _in(TRAINING, "of the processor; measured if not given")] = None

    def spelled_out(self) -> dict[str, Any]:
        """Dotted names of ``Spec`` -> values, of what was given."""
        from latelier.spec import SHORT

        settings: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name == "likelihood":
                settings |= {f"likelihood.{k}": v for k, v in pairs(value, "--likelihood", "FIELD=NAME").items()}
            else:
                settings[SHORT.get(field.name, field.name)] = (
                    _split(value) if field.name in ("given", "ignore") else value
                )
        return settings


def settings_of(config: Path | None, assignments: Sequence[str], short: Settings) -> dict[str, Any]:
    """All settings, the later the stronger: the file, --set, short options. BadInput names the nearest known option."""
    from latelier.spec import Spec

    settings = {} if config is None else read_config(config)
    try:
        Spec.of(settings)
    except BadInput as error:
        raise BadInput(f"{config}: {error}") from None
    return settings | {k: _value(v) for k, v in pairs(assignments, "--set", "NAME=VALUE").items()} | short.spelled_out()


def read_config(path: Path) -> dict[str, Any]:
    """Settings from .yaml, .json or .toml: sections, dotted names, or short names such as ``epochs``."""
    import yaml

    from latelier.spec import SHORT

    readers = {".yaml": yaml.safe_load, ".yml": yaml.safe_load, ".json": json.loads, ".toml": tomllib.loads}
    if path.suffix.lower() not in readers:
        raise BadInput(f"{path}: settings are read from {', '.join(readers)}; name the file so")
    try:
        page = readers[path.suffix.lower()](path.read_text("utf-8"))
    except OSError as error:
        raise BadInput(
            f"{path}: {(error.strerror or 'cannot be read').lower()}; check the path after --config"
        ) from None
    except (ValueError, yaml.YAMLError) as error:
        raise BadInput(
            f"{path}: not valid {path.suffix[1:].upper()} ({' '.join(str(error).split())}); correct it"
        ) from None
    if page is None:
        return {}
    if not isinstance(page, Mapping):
        raise BadInput(f"{path}: holds a {type(page).__name__}; settings are NAME: VALUE, such as train.epochs: 5")
    return {str(k) if isinstance(v, Mapping) else SHORT.get(str(k), str(k)): v for k, v in page.items()}


def pairs(words: Sequence[str], option: str, form: str) -> dict[str, str]:
    """NAME=VALUE words as a dictionary.

    >>> pairs(["label=7", "sex=F"], "--given", "COLUMN=VALUE")
    {'label': '7', 'sex': 'F'}
    """
    found = {}
    for word in words:
        name, equals, value = word.partition("=")
        if not (name and equals):
            raise BadInput(f"{option} {word}: should be {form}")
        found[name.strip()] = value.strip()
    return found


def held(words: Sequence[str]) -> dict[str, str]:
    """What new rows are to hold: pairs of a column and a value, several values, a range, or a bound with its sign.

    >>> held(["age=30..40,sex=F,M", "hours>=40", "income=>50K"])
    {'age': '30..40', 'sex': 'F,M', 'hours': '>=40', 'income': '>50K'}
    """
    found: dict[str, str] = {}
    for word in words:
        name = ""
        for part in word.split(","):
            if pair := _HELD.fullmatch(part):
                name, sign, value = pair.groups()
                found[name.strip()] = value.strip() if sign == "=" else sign + value.strip()
            elif name:
                found[name.strip()] += f",{part}"  # one more value of the same column
            else:
                raise BadInput(f"--given {word}: should be COLUMN=VALUE, such as age=40, age=30..40 or age>=40")
    return found


def row_numbers(text: str, option: str) -> list[int]:
    """Numbers of rows or dimensions between commas, from 0.

    >>> row_numbers("0,5,9", "--rows")
    [0, 5, 9]
    """
    try:
        rows = [int(word) for word in text.split(",")]
    except ValueError:
        rows = []
    if not rows or min(rows) < 0:
        raise BadInput(f"{option} {text}: should be numbers from 0, such as 0,5,9")
    return rows


def _split(words: Sequence[str]) -> list[str]:
    return [part.strip() for word in words for part in word.split(",") if part.strip()]


def _value(text: str) -> Any:
    """JSON where it is some, several numbers between commas as a list, else the text itself."""
    for attempt in (text, f"[{text}]") if "," in text else (text,):
        try:
            return json.loads(attempt)
        except json.JSONDecodeError:
            continue
    return text
