"""Columns of one family under different likelihoods: a field for each likelihood. What may be tried for each family."""

from __future__ import annotations

from collections.abc import Mapping

from latelier.data.schema import Field
from latelier.data.transforms import side_by_side
from latelier.kinds.cells.columns import FAMILIES
from latelier.kinds.cells.schema import TableSchema
from latelier.likelihoods import LIKELIHOODS

ALTERNATIVES = {
    "real": ("gaussian", "laplace", "student_t", "mixture"),
    "amount": ("hurdle_gaussian", "hurdle_laplace", "hurdle_student_t", "hurdle_mixture"),
    "cyclic": ("von_mises", "von_mises_mixture"),
    "count": ("negative_binomial", "poisson", "zero_inflated_negative_binomial", "count_mixture"),
    "ordinal": ("ordinal", "categorical"),
}


def alternatives(schema: TableSchema) -> dict[str, tuple[str, ...]]:
    """Per field the likelihoods that its family may have, its own first."""
    found = {}
    for field in schema.modelled:
        names = ALTERNATIVES.get(schema.by_name[field.columns[0]].family, ())
        if names:
            found[field.name] = (field.likelihood, *(name for name in names if name != field.likelihood))
    return found


def regrouped(schema: TableSchema, chosen: Mapping[str, str]) -> TableSchema:
    """The schema with these likelihoods for these columns, the others as they were: a field for each family and likelihood.

    The largest of a family has the family's name, the others that and their likelihood's: ``real``, ``real_mixture``.
    """
    place = {c.name: i for i, c in enumerate(schema.columns)}
    fields: list[Field] = []
    for family in FAMILIES:
        own = [f for f in schema.modelled if schema.by_name[f.columns[0]].family == family]
        groups: dict[str, list[tuple[str, Field, int]]] = {}
        every = sorted(((name, f, i) for f in own for i, name in enumerate(f.columns)), key=lambda one: place[one[0]])
        for name, field, i in every:
            groups.setdefault(chosen.get(name, field.likelihood), []).append((name, field, i))
        largest = max(groups, key=lambda likelihood: len(groups[likelihood]), default="")
        for likelihood, members in sorted(groups.items(), key=lambda group: group[0] != largest):
            name = family if likelihood == largest else f"{family}_{likelihood.removeprefix(family + '_')}"
            fields.append(_field(schema, name, likelihood, members))
    return schema.model_copy(update={"fields": (*fields, *schema.told)})


def _field(schema: TableSchema, name: str, likelihood: str, members: list[tuple[str, Field, int]]) -> Field:
    first = members[0][1]
    columns = tuple(column for column, _, _ in members)
    if columns == first.columns:  # all of a field
        transform = first.transform
    else:
        transform = side_by_side([field.transform.of([i]) for _, field, i in members])
    return first.model_copy(
        update={
            "name": name,
            "shape": (len(members),),
            "support": LIKELIHOODS[likelihood].support,
            "likelihood": likelihood,
            "options": first.options if likelihood == first.likelihood else {},
            "sizes": tuple(field.sizes[i] for _, field, i in members) if first.sizes else (),
            "columns": columns,
            "transform": transform,
            "holes": any(schema.by_name[column].missing for column in columns),
        }
    )
