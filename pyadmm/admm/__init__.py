"""ADMM: the solver, Euclidean projections and the search for the scale of levels."""
