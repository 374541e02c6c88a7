"""Basic modules that every other package may use: errors, files, assets, processes, schema."""
