"""The main job: from a network to an accelerator that is verified by simulation, in named steps."""
