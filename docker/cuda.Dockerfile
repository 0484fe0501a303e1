# nsmt on GPUs: docker build -f docker/cuda.Dockerfile -t nsmt:cuda .
# Run with --gpus all --ipc=host; the torch wheel brings its own CUDA libraries.
FROM python:3.11-slim-bookworm
SHELL ["/bin/bash", "-o", "pipefail", "-c"]
WORKDIR /opt/nsmt
COPY pyproject.toml requirements.lock README.md LICENSE CHANGELOG.md train.py evaluate.py ./
COPY nsmt nsmt
COPY conf conf
RUN pip install --no-cache-dir "$(grep '^torch==' requirements.lock)" -e . -c requirements.lock
WORKDIR /data
ENTRYPOINT ["nsmt"]
CMD ["help"]
