"""The main job: from a trained or untrained network to a proven accelerator, in named steps."""
