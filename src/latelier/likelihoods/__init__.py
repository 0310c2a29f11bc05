"""Likelihoods p(x | h), one head per family; this table is where the rest finds them by name."""

from __future__ import annotations

from latelier.likelihoods.base import Likelihood
from latelier.likelihoods.binary import Bernoulli, ContinuousBernoulli
from latelier.likelihoods.category import Categorical, Ordinal
from latelier.likelihoods.count import NegativeBinomial, Poisson, ZeroInflatedNegativeBinomial, ZeroInflatedPoisson
from latelier.likelihoods.cyclic import VonMises, VonMisesMixture
from latelier.likelihoods.hurdle import HurdleGaussian, HurdleLaplace, HurdleMixture, HurdleStudentT
from latelier.likelihoods.mixture import CountMixture, RealMixture
from latelier.likelihoods.pixels import DiscretisedLogistic, LogisticMixture
from latelier.likelihoods.real import Gaussian, Laplace, StudentT

LIKELIHOODS: dict[str, type[Likelihood]] = {
    "bernoulli": Bernoulli,
    "continuous_bernoulli": ContinuousBernoulli,
    "gaussian": Gaussian,
    "laplace": Laplace,
    "student_t": StudentT,
    "mixture": RealMixture,
    "hurdle_gaussian": HurdleGaussian,
    "hurdle_laplace": HurdleLaplace,
    "hurdle_student_t": HurdleStudentT,
    "hurdle_mixture": HurdleMixture,
    "von_mises": VonMises,
    "von_mises_mixture": VonMisesMixture,
    "logistic": DiscretisedLogistic,
    "logistic_mixture": LogisticMixture,
    "categorical": Categorical,
    "ordinal": Ordinal,
    "poisson": Poisson,
    "negative_binomial": NegativeBinomial,
    "zero_inflated_poisson": ZeroInflatedPoisson,
    "zero_inflated_negative_binomial": ZeroInflatedNegativeBinomial,
    "count_mixture": CountMixture,
}
