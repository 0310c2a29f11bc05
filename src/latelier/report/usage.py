"""How to use a model, in the words of its own folder and conditions."""

from __future__ import annotations

from latelier.data.schema import Schema


def given_names(schema: Schema) -> list[str]:
    """The columns, or ``label``, that the model is conditioned on."""
    return [name for field in schema.conditions for name in (field.columns or (field.name,))]


def cli_use(folder: str, schema: Schema) -> str:
    """Commands, for the folder that the model's folder lies in."""
    model = quoted(folder)
    given = "".join(f" --given {quoted(name + '=VALUE')}" for name in given_names(schema))
    return (
        f"latelier sample {model} --rows 100{given}\n"
        f"latelier reconstruct {model} DATA\n"
        f"latelier impute {model} DATA\n"
        f"latelier score {model} DATA --entries\n"
        + (f"latelier predict {model} DATA\n" if schema.label else "")
        + f"latelier evaluate {model} DATA"
    )


def python_use(folder: str, schema: Schema) -> str:
    """The same in Python."""
    values = ", ".join(f'{name!r}: "VALUE"' for name in given_names(schema))
    given = f", given={{{values}}}" if values else ""
    return (
        "import latelier\n\n"
        f"model = latelier.load({folder!r})\n"
        f"new = model.sample(100{given})\n"
        "nats = model.score(data)    # a bound on log p(x), a number a row\n"
        "z = model.encode(data)      # the mean of q(z | x)\n"
        "x = model.reconstruct(data)"
    )


def quoted(word: str) -> str:
    """For a shell: quoted where it holds more than letters, digits and . _ - = /.

    >>> quoted("digits-1"), quoted("my run; rm")
    ('digits-1', "'my run; rm'")
    """
    return word if all(c.isalnum() or c in "._-=/" for c in word) else "'" + word.replace("'", "'\\''") + "'"
