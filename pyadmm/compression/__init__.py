"""The compression pipeline: each phase in a module of its own."""
