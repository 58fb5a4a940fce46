"""The Microsoft.App provider of the local Azure: environments, storages, container apps, revisions, replicas.

It decides which revision should run and who gets traffic; it starts no process and serves no app request
(that is the runtime's and the ingress's work).
"""
