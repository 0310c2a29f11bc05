"""The trial of likelihoods: columns whose truth is known get it, and rows that are held out are not looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import latelier
from latelier.batch import Batch
from latelier.build import fit_to_data
from latelier.data.rows import split
from latelier.kinds.tables import Tables
from latelier.spec import Spec
from latelier.trial import suited

ROWS = 3000


def table(rows: int = ROWS) -> pd.DataFrame:
    random = np.random.default_rng(0)
    shared = random.normal(size=rows)
    hours = np.where(random.random(rows) < 0.5, 40, random.poisson(35, rows))
    return pd.DataFrame(
        {
            "normal": shared + random.normal(size=rows),
            "peaks": np.where(random.random(rows) < 0.6, random.normal(-3, 0.2, rows), random.normal(3, 0.5, rows)),
            "visits": random.poisson(np.exp(1.5 + 0.5 * shared)),
            "hours": hours,
            "paid": np.where(random.random(rows) < 0.4, 0.0, np.exp(random.normal(5, 1, rows))),
            "word": np.array(list("abc"))[random.integers(0, 3, rows)],
        }
    )


class Watched(Tables):
    """Remembers which rows were asked for."""

    def rows_at(self, source, schema, ids) -> Batch:
        self.asked = ids
        return super().rows_at(source, schema, ids)


@pytest.fixture(scope="module")
def tried():
    kind, frame = Watched(), table()
    schema = kind.scan(frame, Spec().data)
    return kind, frame, schema, suited(kind, schema, frame, Spec())


def likelihoods(schema) -> dict[str, str]:
    return {name: f.likelihood for f in schema.modelled for name in f.columns}


def test_every_column_gets_a_likelihood_of_its_own_shape(tried):
    _, _, before, after = tried
    assert likelihoods(before)["peaks"] == "gaussian" and likelihoods(before)["hours"] == "negative_binomial"
    found = likelihoods(after)
    assert found["normal"] == "gaussian"
    assert found["peaks"] == "mixture"
    assert found["visits"] in ("negative_binomial", "poisson")
    assert found["hours"] == "count_mixture"


def test_the_evidence_has_figures_and_the_flag_that_overrides_them(tried):
    _, frame, schema, after = tried
    line = next(line for line in after.evidence if line.startswith("peaks: likelihood mixture ("))
    assert "gaussian -" in line and "override with --set likelihood.peaks=gaussian" in line
    spec, asked = fit_to_data({"likelihood.peaks": "gaussian"}, Tables(), after, ROWS)
    assert likelihoods(asked)["peaks"] == "gaussian" and spec.likelihood == {"peaks": "gaussian"}
    named = suited(Tables(), schema, frame, Spec.of({"likelihood.peaks": "laplace", "head.count": {"components": 3}}))
    assert likelihoods(named)["peaks"] == "gaussian"  # left for the user's choice, which comes after
    assert likelihoods(named)["hours"] == "negative_binomial"


def test_columns_keep_their_values_and_transforms_in_their_new_fields(tried):
    kind, frame, before, after = tried
    assert sum(len(f.columns) for f in after.modelled) == len(frame.columns)
    for schema in (before, after):
        batch = next(kind.read(frame, schema))
        pd.testing.assert_frame_equal(kind.present(batch, schema), frame)
    one, other = (s.to_model(next(kind.read(frame, s))) for s in (before, after))
    assert one.stretch().tolist() == pytest.approx(other.stretch().tolist(), abs=1e-4)
    assert kind.schema.model_validate_json(after.model_dump_json()) == after


def test_held_out_rows_are_not_looked_at(tried):
    kind, frame, schema, after = tried
    _, held = split(ROWS, Spec().data.holdout, Spec().train.seed)
    assert not set(kind.asked.tolist()) & set(held.tolist())
    assert suited(Watched(), schema, frame, Spec()) == after  # and the answer repeats


def test_few_rows_and_the_rule_leave_the_usual_likelihoods(tried):
    _, frame, schema, _ = tried
    assert suited(Tables(), schema, frame, Spec.of({"data.choose": "rule"})) == schema
    few = frame[:600]
    schema = Tables().scan(few, Spec().data)
    left = suited(Tables(), schema, few, Spec())
    assert left.fields == schema.fields and "540 training rows are too few" in left.evidence[-1]


def test_a_wide_table_is_tried_on_some_columns_and_the_others_follow():
    random = np.random.default_rng(0)
    sign = np.where(random.random((1500, 300)) < 0.5, -2.0, 2.0)
    frame = pd.DataFrame(sign + 0.1 * random.normal(size=sign.shape)).add_prefix("c")
    schema = Tables().scan(frame, Spec().data)
    after = suited(Tables(), schema, frame, Spec())
    assert set(likelihoods(after).values()) == {"mixture"}
    assert any("mixture for the 172 others" in line for line in after.evidence)


def test_fitting_takes_what_was_chosen_and_holds_out_more_nats(tmp_path):
    frame = table()
    train, test = frame[:2400], frame[2400:]
    bounds = {}
    for how in ("rule", "held-out"):
        model = latelier.fit(train, out=tmp_path / how, epochs=12, report=False, settings={"data.choose": how})
        bounds[how] = model.evaluate(test, draws=16).iw
    assert bounds["held-out"] > bounds["rule"] + 0.5
    drawn = latelier.load(tmp_path / "held-out").sample(500)
    assert 0.25 < (drawn["paid"] == 0).mean() < 0.55
    assert 0.3 < (drawn["hours"] == 40).mean() < 0.7
