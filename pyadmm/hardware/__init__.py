"""The accelerator as typed plans: boards, mapping, weight images, cost, design-space search."""
