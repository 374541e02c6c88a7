"""Deployment: the bundle for the board, its wheel, the simulated board."""
