"""Notebooks that ``pynq get-notebooks`` delivers."""
