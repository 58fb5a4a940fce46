"""State for what exists already: an AI Toolkit project or a live app, read into desired state. It changes neither."""
