# Multi-stage and unprivileged; two targets that differ in PyTorch's build alone.
#
#   docker build --target cpu  -t dd-assets --build-arg TORCH_INDEX=<address of an index with CPU wheels> .
#   docker build --target cuda -t dd-assets .
#   docker run --rm -p 127.0.0.1:3000:3000 -v dd-data:/data dd-assets
#
# The default wheel carries CUDA libraries and runs without a GPU too; without TORCH_INDEX `cpu` is as large as `cuda`.
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /src
COPY constraints.txt pyproject.toml README.md LICENSE ./

FROM build AS build-cuda
# Alone in its layer: by far the largest part, and the one that changes least.
RUN /opt/venv/bin/pip install -c constraints.txt torch torchvision
COPY dd_assets dd_assets
COPY dd_resources dd_resources
RUN /opt/venv/bin/pip install -c constraints.txt ".[ui,production,text]"

FROM build AS build-cpu
ARG TORCH_INDEX=""
RUN /opt/venv/bin/pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch torchvision
COPY dd_assets dd_assets
COPY dd_resources dd_resources
RUN grep -v -E '^(torch|torchvision|triton|nvidia-.*|cuda-.*)==' constraints.txt > others.txt \
    && /opt/venv/bin/pip install -c others.txt ".[ui,production,text]"

FROM python:${PYTHON_VERSION}-slim AS base
RUN useradd --create-home --uid 1000 dd && install -d -o dd -g dd /data /data/dagster
COPY --chown=dd:dd deploy/dagster.yaml /data/dagster/dagster.yaml
COPY workspace.yaml /app/workspace.yaml
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DAGSTER_HOME=/data/dagster DD_STORE=/data/store DD_DATA_ROOT=/data/raw
# By number, so that Kubernetes can tell that it is not root.
USER 1000
WORKDIR /app
VOLUME /data
EXPOSE 3000
HEALTHCHECK --interval=30s --timeout=10s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:3000/server_info', timeout=8)"]
CMD ["dagster", "dev", "-h", "0.0.0.0", "-p", "3000", "-w", "workspace.yaml"]

FROM base AS cuda
COPY --from=build-cuda /opt/venv /opt/venv

FROM base AS cpu
COPY --from=build-cpu /opt/venv /opt/venv
