"""Settings: what cannot make a model is refused by name before anything is built."""

import pytest

from latelier.errors import BadInput
from latelier.spec import CURES, Spec, option_names


@pytest.mark.parametrize(
    "name, value",
    [("network.hidden", (8, 0)), ("network.channels", ()), ("latent.rungs", ()), ("latent.rungs", (4, 0))],
)
def test_widths_of_nothing_are_refused(name, value):
    with pytest.raises(BadInput, match=f"option {name}"):
        Spec.of({name: value})


@pytest.mark.parametrize("cure", CURES)
def test_a_cure_stands_above_defaults_and_purposes_and_below_what_the_user_says(cure):
    name, value = next(iter(CURES[cure].items()))
    section, option = name.split(".")

    def found(*settings):
        return getattr(getattr(Spec.of(*settings), section), option)

    assert found({}) != value == found({"cure": cure})
    assert found({"cure": cure}, {name: 7.0}) == value
    assert found({"cure": cure, name: 9.0}) == 9.0
    assert Spec.of({"cure": cure, "purpose": "synthesis"}).network.name == "autoregressive"


def test_every_cure_is_one_of_known_options():
    assert {name for cure in CURES.values() for name in cure} <= set(option_names())
    with pytest.raises(BadInput, match="cure"):
        Spec.of({"cure": "colapse"})
