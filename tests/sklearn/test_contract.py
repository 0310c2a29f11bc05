"""scikit-learn's own checks, every one of them."""

from __future__ import annotations

from typing import Any

from sklearn.utils.estimator_checks import parametrize_with_checks

from latelier.sklearn import Generator, Imputer, LatentTransformer, OutlierDetector

QUICK: dict[str, Any] = {"hidden": (8,), "epochs": 1, "dims": 2}


@parametrize_with_checks(
    [
        Generator(**QUICK, draws=2),
        Imputer(**QUICK, draws=2),
        LatentTransformer(**QUICK),
        OutlierDetector(**QUICK, members=1),
    ]
)
def test_the_contract_of_estimators(estimator: Any, check: Any) -> None:
    check(estimator)
