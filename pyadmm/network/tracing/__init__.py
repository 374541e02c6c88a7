"""Handlers that turn the operations of a traced module into steps, by kind of operation."""
