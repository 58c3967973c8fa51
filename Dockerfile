# cmer-bench in a container.
#
#   docker build -t cmer-bench .
#
# By default torch comes from PyPI: it brings CUDA's libraries (6 GB) and also works on a CPU. For another CUDA
# version, or a smaller image for CPUs alone, name the index of such wheels, which pytorch.org lists:
#
#   docker build -t cmer-bench:cpu --build-arg TORCH_INDEX=... .
#
# The demo (tables, plots and records go to ./demo), then a sweep of your own (--yes fetches the data set):
#
#   mkdir -p demo    # else Docker makes this folder, as root
#   docker run --rm --user "$(id -u):$(id -g)" -v "$PWD/demo:/bench/demo" cmer-bench
#   docker run --rm --user "$(id -u):$(id -g)" --gpus all --shm-size 2g -v "$PWD:/bench" -v cmer-cache:/cache \
#       cmer-bench bench run --yes --methods cmer,lora --dataset rsitmd --backbone remoteclip-b32
#
# For GPUs the host needs the driver and NVIDIA's container toolkit.
ARG BASE=python:3.12-slim-bookworm
FROM ${BASE}

# g++ is what `--recipe compile=true` compiles with on a CPU, make runs the demo.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends g++ make \
    && rm -rf /var/lib/apt/lists/*

# Where to look for torch beside PyPI.
ARG TORCH_INDEX
ENV PIP_NO_CACHE_DIR=1 \
    PYTHONUNBUFFERED=1 \
    BENCH_CACHE=/cache/bench \
    HF_HOME=/cache/huggingface \
    MPLCONFIGDIR=/cache/matplotlib \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility

WORKDIR /opt/cmer-bench
COPY pyproject.toml constraints.txt README.md LICENSE Makefile ./
COPY bench ./bench
COPY methods ./methods
COPY datasets ./datasets
RUN python -m pip install --constraint constraints.txt ${TORCH_INDEX:+--extra-index-url "${TORCH_INDEX}"} '.[hf,geo,parquet]' \
    && mkdir --mode=1777 /cache /bench

# Any user may run it, so that files in /bench belong to whoever started the container.
WORKDIR /bench
USER 1000
CMD ["make", "--file", "/opt/cmer-bench/Makefile", "--assume-old", ".venv/installed", "BIN=/usr/local/bin", "demo"]
