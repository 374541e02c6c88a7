"""Compression without training: layer by layer, from some hundred unlabelled inputs."""
