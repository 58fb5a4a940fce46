"""How the controller tells about itself: logs, metrics, and the HTTP it answers. It knows nothing of what it tells."""
