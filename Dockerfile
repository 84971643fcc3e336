# One image for every process of the Procfile; docker-compose.yml says which one a container runs.

FROM python:3.11-slim-bookworm AS build

# hnswlib comes as source. Its compiler is not in the final image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ \
    && rm -rf /var/lib/apt/lists/*

RUN python -m venv /opt/venv
ENV PATH=/opt/venv/bin:$PATH

# hnswlib is built for every processor of this architecture. An empty value builds it for the
# processor of the building machine alone: faster there, and it may not start elsewhere.
ARG HNSWLIB_NO_NATIVE=1

# The address of an index that has CPU-only builds of torch and torchvision. Without it pip takes
# what its own index has, on x86-64 the CUDA builds of some 5 GB.
ARG TORCH_INDEX_URL

WORKDIR /srv/snapsku
# What changes seldom first: a change of code downloads nothing again.
COPY pyproject.toml constraints.txt ./
RUN python -c "import tomllib; print(*tomllib.load(open('pyproject.toml', 'rb'))['project']['dependencies'], sep='\n')" > /tmp/requirements.txt \
    && pip install --no-cache-dir --disable-pip-version-check \
        ${TORCH_INDEX_URL:+--extra-index-url "$TORCH_INDEX_URL"} \
        --constraint constraints.txt --requirement /tmp/requirements.txt
COPY . .
RUN pip install --no-cache-dir --disable-pip-version-check --no-deps --editable . \
    && python -m compileall -q app broker catalog cli config contract download identity indexer vision workers


FROM python:3.11-slim-bookworm

RUN groupadd --gid 10001 snapsku \
    && useradd --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin snapsku \
    && install --directory --owner=snapsku --group=snapsku --mode=0750 /data

COPY --from=build /opt/venv /opt/venv
COPY --from=build /srv/snapsku /srv/snapsku

# TORCH_HOME: weights that torchvision downloads stay on the volume.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    SNAPSKU_DATA_DIR=/data \
    TORCH_HOME=/data/torch

WORKDIR /srv/snapsku
USER 10001:10001
VOLUME /data
EXPOSE 8000 5555
CMD ["gunicorn", "-c", "app/serving/gunicorn_conf.py"]
