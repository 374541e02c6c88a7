"""External tools and their reports: compilers, simulators, synthesis, timing, vendor tools."""
