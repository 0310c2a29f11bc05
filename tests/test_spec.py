"""Settings: what cannot make a model is refused by name before anything is built."""

import pytest

from latelier.errors import BadInput
from latelier.spec import Spec


@pytest.mark.parametrize(
    "name, value",
    [("network.hidden", (8, 0)), ("network.channels", ()), ("latent.rungs", ()), ("latent.rungs", (4, 0))],
)
def test_widths_of_nothing_are_refused(name, value):
    with pytest.raises(BadInput, match=f"option {name}"):
        Spec.of({name: value})
