"""Values that travel between rooms: desired, observed, outcomes, conditions. No clock, no network, no SDK."""
