# nsmt on a CPU: docker build -f docker/cpu.Dockerfile -t nsmt:cpu .
FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/nsmt
COPY pyproject.toml requirements.lock README.md LICENSE CHANGELOG.md train.py evaluate.py ./
COPY nsmt nsmt
COPY conf conf
# With --build-arg TORCH_INDEX=URL, torch comes from PyTorch's index of CPU builds, which spares
# several gigabytes of CUDA libraries.
ARG TORCH_INDEX=""
# Versions are pinned by requirements.lock.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} \
      "$(grep '^torch==' requirements.lock)" \
 && pip install --no-cache-dir -e . -c requirements.lock
# Mount /data to keep corpora and runs.
WORKDIR /data
ENTRYPOINT ["nsmt"]
CMD ["help"]
