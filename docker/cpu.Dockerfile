# nsmt on a CPU: docker build -f docker/cpu.Dockerfile -t nsmt:cpu --build-arg COMMIT="$(git rev-parse HEAD)" .
FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/nsmt
COPY pyproject.toml requirements.lock requirements-torch.txt README.md LICENSE CHANGELOG.md train.py evaluate.py ./
COPY nsmt nsmt
COPY hydra_plugins hydra_plugins
COPY conf conf
# With --build-arg TORCH_INDEX=URL, torch comes from PyTorch's index of CPU builds, which spares
# several gigabytes of CUDA libraries.
ARG TORCH_INDEX=""
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock \
 && pip install --no-cache-dir ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} -r requirements-torch.txt \
 && pip install --no-cache-dir --no-deps --no-build-isolation -e .
# What certificates say of the code, as an image has no checkout.
ARG COMMIT=""
ENV NSMT_COMMIT=$COMMIT
# Mount /data to keep corpora and runs.
WORKDIR /data
ENTRYPOINT ["nsmt"]
CMD ["help"]
