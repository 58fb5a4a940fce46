"""An embedded local Azure: the wire protocol of ARM, Entra and Azure Files, and revisions that really run.

It knows neither the controller nor the Azure SDK. What it answers follows what was recorded of the
service; each behaviour names its source, and what is assumed says so.
"""
