"""Runs revisions and lets requests in: processes or simulated ones, their probes and logs, and the ingress.

It knows nothing of ARM: `replicas` says what the provider may ask of it.
"""
