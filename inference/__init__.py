"""The served app: a base model with a LoRA adapter, an OpenAI-compatible API and a chat page, in one process.

Run it with `python -m inference`. It imports nothing of the controller or of the local Azure: it is what gets
deployed, and it must run wherever its requirements are installed.
"""
