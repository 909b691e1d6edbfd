"""Linear factors: factor analysis, probabilistic PCA, and a linear-Gaussian model with an exact posterior."""
