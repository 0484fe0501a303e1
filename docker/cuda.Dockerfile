# nsmt on GPUs: docker build -f docker/cuda.Dockerfile -t nsmt:cuda --build-arg COMMIT="$(git rev-parse HEAD)" .
# Run with --gpus all --ipc=host; the torch wheel brings its own CUDA libraries.
FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/nsmt
COPY pyproject.toml requirements.lock requirements-torch.txt README.md LICENSE CHANGELOG.md train.py evaluate.py ./
COPY nsmt nsmt
COPY hydra_plugins hydra_plugins
COPY conf conf
RUN pip install --no-cache-dir --require-hashes --no-deps -r requirements.lock \
 && pip install --no-cache-dir -r requirements-torch.txt \
 && pip install --no-cache-dir --no-deps --no-build-isolation -e .
# What certificates say of the code, as an image has no checkout.
ARG COMMIT=""
ENV NSMT_COMMIT=$COMMIT
WORKDIR /data
ENTRYPOINT ["nsmt"]
CMD ["help"]
