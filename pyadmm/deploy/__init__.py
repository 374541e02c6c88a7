"""What the board needs: the bundle, its wheel and the simulated board."""
