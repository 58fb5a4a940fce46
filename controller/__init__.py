"""acaops: makes Azure Container Apps inference stacks look like the desired state in a folder."""
