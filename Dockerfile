# Multi-stage and unprivileged. Runs on the CPU unless a GPU is passed to the container.
#
#   docker build -t dd-assets .
#   docker run --rm -p 127.0.0.1:3000:3000 -v dd-data:/data dd-assets
#
# The default PyTorch wheel carries CUDA libraries. For a small CPU-only image pass the address of an index with CPU
# wheels: --build-arg TORCH_INDEX=<address>
ARG PYTHON_VERSION=3.11

FROM python:${PYTHON_VERSION}-slim AS build
ARG TORCH_INDEX=""
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
RUN python -m venv /opt/venv
WORKDIR /src
COPY constraints.txt ./
# Alone in its layer: by far the largest part, and the one that changes least.
RUN /opt/venv/bin/pip install ${TORCH_INDEX:+--extra-index-url "$TORCH_INDEX"} -c constraints.txt torch torchvision
COPY pyproject.toml README.md LICENSE ./
COPY dd_assets dd_assets
COPY dd_resources dd_resources
RUN /opt/venv/bin/pip install -c constraints.txt ".[ui]"

FROM python:${PYTHON_VERSION}-slim
RUN useradd --create-home --uid 1000 dd && install -d -o dd -g dd /data /data/dagster
COPY --from=build /opt/venv /opt/venv
COPY --chown=dd:dd deploy/dagster.yaml /data/dagster/dagster.yaml
COPY workspace.yaml /app/workspace.yaml
ENV PATH=/opt/venv/bin:$PATH PYTHONUNBUFFERED=1 DAGSTER_HOME=/data/dagster DD_STORE=/data/store DD_DATA_ROOT=/data/raw
USER dd
WORKDIR /app
VOLUME /data
EXPOSE 3000
CMD ["dagster", "dev", "-h", "0.0.0.0", "-p", "3000", "-w", "workspace.yaml"]
