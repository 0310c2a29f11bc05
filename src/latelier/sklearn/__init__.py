"""scikit-learn's interface: estimators that clone, pickle, search and stand in pipelines. Their names are loaded when used.

Inside this package ``import sklearn`` means scikit-learn: imports are absolute.
"""

from latelier.sklearn.generator import Generator
from latelier.sklearn.imputer import Imputer
from latelier.sklearn.latent import LatentTransformer
from latelier.sklearn.outliers import OutlierDetector

__all__ = ["Generator", "Imputer", "LatentTransformer", "OutlierDetector"]
