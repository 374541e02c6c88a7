"""Training: epochs, resumable phases, data, augmentation, distillation, devices."""
