"""The layer-sequential array: its parameters, compiler, programs and cost models."""
