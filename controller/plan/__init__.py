"""Pure planning: desired and observed in, frozen actions out. No clock, environment, network, log or SDK."""
