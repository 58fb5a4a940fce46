# Two images:
#   docker build --target controller -t acaops .
#   docker build --target inference -t acaops-inference .

ARG PYTHON=python:3.11-slim
ARG PYTORCH=pytorch/pytorch:2.9.0-cuda12.8-cudnn9-runtime


FROM ${PYTHON} AS package
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/acaops
WORKDIR /src
COPY pyproject.toml README.md LICENSE requirements.lock ./
# Without infra: the local Azure is for laptops and CI.
COPY controller controller
RUN /opt/acaops/bin/pip install --constraint requirements.lock .


FROM ${PYTHON} AS controller
RUN useradd --uid 10001 --create-home acaops
COPY --from=package /opt/acaops /opt/acaops
ENV PATH=/opt/acaops/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
EXPOSE 8080
# /state holds the state folder and, beside it, the content folders it names.
WORKDIR /state
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8080/healthz', timeout=4)"]
ENTRYPOINT ["acaops"]
CMD ["run", "/state/desired_state", "--host", "0.0.0.0"]


FROM ${PYTORCH} AS inference
# Newer base images have a system Python, which pip leaves alone unless told.
ENV PIP_BREAK_SYSTEM_PACKAGES=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /app
COPY inference/requirements.txt inference/requirements.txt
# torch is the image's, built for its CUDA; whatever would replace it fails the build.
RUN python -c "import torch; print(f'torch=={torch.__version__}')" > /tmp/torch.txt \
    && python -m pip install --constraint /tmp/torch.txt --requirement inference/requirements.txt \
    && rm /tmp/torch.txt
COPY inference inference
RUN useradd --uid 10001 --create-home inference
# The code is found from every folder; what `content` puts where the commands run goes first.
ENV PYTHONPATH=/app PYTHONUNBUFFERED=1
USER 10001
EXPOSE 7860
HEALTHCHECK --interval=10s --timeout=5s --start-period=30m \
    CMD ["python", "-c", "import os, urllib.request as r; r.urlopen(f\"http://127.0.0.1:{os.environ.get('PORT') or 7860}/livez\", timeout=4)"]
CMD ["python", "-m", "inference"]
