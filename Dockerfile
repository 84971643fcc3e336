# One image for every process of the Procfile; docker-compose.yml says which one a container runs.
# Two targets: `cpu`, the default, and `cuda`. See docs/deploy-compose.md.

FROM python:3.11-slim-bookworm AS build

# hnswlib comes as source. Its compiler is not in the final image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

# torch alone needs setuptools at run time, and brings the version that is pinned.
RUN python -m venv /opt/venv \
    && /opt/venv/bin/pip uninstall --yes setuptools
ENV PATH=/opt/venv/bin:$PATH \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PIP_CONSTRAINT=/srv/snapsku/constraints.txt

# hnswlib is built for every processor of this architecture. An empty value builds it for the
# processor of the building machine alone: faster there, and it may not start elsewhere.
ARG HNSWLIB_NO_NATIVE=1

WORKDIR /srv/snapsku
# What changes seldom first: a change of code downloads nothing again.
COPY pyproject.toml constraints.txt ./
COPY deploy/image_requirements.py deploy/
RUN python deploy/image_requirements.py base > /tmp/base.txt \
    && pip install --requirement /tmp/base.txt
# torch has a folder and a layer of its own, which may be missing.
RUN echo /opt/torch/lib/python3.11/site-packages \
    > /opt/venv/lib/python3.11/site-packages/torch-layer.pth


# The CPU-only builds of torch and torchvision, from the index that has them.
FROM build AS torch-cpu
ARG TORCH_INDEX_URL
RUN mkdir /opt/torch; \
    if [ -z "$TORCH_INDEX_URL" ]; then \
        echo "snapsku: TORCH_INDEX_URL is not set, so this image has no torch and runs the default models alone"; \
        exit 0; \
    fi; \
    python deploy/image_requirements.py torch +cpu > /tmp/torch.txt; \
    pip install --prefix /opt/torch --extra-index-url "$TORCH_INDEX_URL" --requirement /tmp/torch.txt \
        || { echo "snapsku: the index of TORCH_INDEX_URL must have" $(grep +cpu /tmp/torch.txt); exit 1; }
# Nothing here compiles against torch. `import torch` fails without its torch_shm_manager.
RUN cd /opt/torch && rm -rf bin lib/python3.11/site-packages/torch/include \
        lib/python3.11/site-packages/torch/test \
    && find . -path '*/torch/bin/*' ! -name torch_shm_manager -delete


# What pip's own index has: on x86-64 the CUDA builds, some 5 GB.
FROM build AS torch-cuda
RUN python deploy/image_requirements.py torch > /tmp/torch.txt \
    && pip install --prefix /opt/torch --requirement /tmp/torch.txt
RUN cd /opt/torch && rm -rf bin lib/python3.11/site-packages/torch/include \
        lib/python3.11/site-packages/torch/test \
    && find . -path '*/torch/bin/*' ! -name torch_shm_manager -delete


FROM build AS code
COPY . .
RUN pip install --no-deps --editable . \
    && python -m compileall -q .


FROM python:3.11-slim-bookworm AS runtime

RUN groupadd --gid 10001 snapsku \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin snapsku \
    && install --directory --owner=snapsku --group=snapsku --mode=0750 /data

# TORCH_HOME: weights that torchvision downloads stay on the volume. ONNX Runtime would report to its
# maker.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SNAPSKU_DATA_DIR=/data \
    TORCH_HOME=/data/torch \
    ORT_DISABLE_TELEMETRY=1

WORKDIR /srv/snapsku
EXPOSE 8000 5555
CMD ["gunicorn", "-c", "app/serving/gunicorn_conf.py"]


FROM runtime AS cuda
COPY --from=torch-cuda /opt/torch /opt/torch
COPY --from=code /opt/venv /opt/venv
COPY --from=code /srv/snapsku /srv/snapsku
USER 10001:10001
VOLUME /data


FROM runtime AS cpu
COPY --from=torch-cpu /opt/torch /opt/torch
COPY --from=code /opt/venv /opt/venv
COPY --from=code /srv/snapsku /srv/snapsku
USER 10001:10001
VOLUME /data
