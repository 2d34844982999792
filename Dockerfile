# docker build -t nrpurify . && docker run --rm -p 8000:8000 nrpurify
# torch without CUDA: docker build --build-arg PIP_INDEX_URL=... with an index that has it.
FROM python:3.12-slim
ARG PIP_INDEX_URL
RUN useradd --create-home --uid 10001 nrpurify
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY src src
# The package is this checkout, so there is no version to pin.
# hadolint ignore=DL3013
RUN pip install --no-cache-dir '.[serve]' && rm -rf /src/*
WORKDIR /home/nrpurify
USER 10001
ENV OMP_NUM_THREADS=1 NRPURIFY_CACHE=/home/nrpurify/cache
EXPOSE 8000
HEALTHCHECK CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:8000/healthz')"]
ENTRYPOINT ["nrpurify", "serve", "--host", "0.0.0.0"]
CMD ["--no-attack"]
