"""What is told of each object: the fold from outcomes to conditions, the statuses in memory, and their events."""
