"""Where the desired state comes from: YAML folders, content folders, secrets, and word that they changed.

Reads files and the environment; never writes to what it reads and never talks to Azure.
"""
