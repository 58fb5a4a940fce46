# Two images:
#   docker build --target controller -t acaops .
#   docker build --target inference -t acaops-inference .

ARG PYTHON=python:3.11-slim-bookworm
ARG PYTORCH=pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime


FROM ${PYTHON} AS package
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
# Without infra: the local Azure is for laptops and CI.
COPY controller controller
# The environment that is kept has no pip.
RUN python -m venv --without-pip /opt/acaops \
    && pip --python /opt/acaops/bin/python install --constraint requirements.lock .


FROM ${PYTHON} AS controller
# git and ssh fetch the desired state. Debian's stable release holds one version of each and removes those before a
# security fix, so that a pinned one would stop building the day it mattered.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates git openssh-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --home-dir /cache acaops \
    && install --directory --owner=acaops --group=acaops /cache /state
COPY --from=package /opt/acaops /opt/acaops
# PYTHONDONTWRITEBYTECODE: the package comes compiled, and nothing but the volumes need be writable.
ENV PATH=/opt/acaops/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1 \
    HOME=/cache TMPDIR=/tmp ACAOPS_CACHE=/cache
USER 10001
EXPOSE 8080
VOLUME ["/cache", "/tmp"]
# The state comes from git where ACAOPS_REPO names a repository; else /state/desired_state holds it, and beside it lie
# the content folders it names.
WORKDIR /state
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('ACAOPS_PORT') or 8080}/healthz\", timeout=4)"]
ENTRYPOINT ["acaops"]
CMD ["run", "--host", "0.0.0.0"]


FROM ${PYTORCH} AS inference
# Newer base images have a system Python, which pip leaves alone unless told.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /tmp/build
COPY inference/requirements.txt requirements.txt
# torch is the image's, built for its CUDA; whatever would replace it fails the build.
RUN python -c "import torch; print(f'torch=={torch.__version__}')" > torch.txt \
    && python -m pip install --constraint torch.txt --requirement requirements.txt \
    && rm torch.txt requirements.txt \
    && useradd --uid 10001 --create-home inference
# The code comes from the share, as the models do: a change of it needs no new image.
WORKDIR /mount
ENV PYTHONUNBUFFERED=1
USER 10001
EXPOSE 7860
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT') or 7860}/livez\", timeout=4)"]
CMD ["python", "-m", "inference"]
