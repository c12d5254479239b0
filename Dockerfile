# Two images: --target app (server, console, hello-world worker) and --target beanstalkd (1.13, from Debian).
# A release names the base image by its digest: BASE=debian:trixie-slim@sha256:… (scripts/release).
ARG BASE=debian:trixie-slim

FROM ${BASE} AS python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*

FROM python AS build
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
COPY scripts/lib/uv.txt /opt/uv.txt
# The CA of a TLS-inspecting proxy, for pip and uv: `--secret id=ca,src=FILE`. scripts/build passes the machine's CAs.
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export PIP_CERT=/run/ca.crt; fi \
 && python3 -m venv /opt/uv && /opt/uv/bin/pip install --no-cache-dir --require-hashes --requirement /opt/uv.txt
ENV UV_PROJECT_ENVIRONMENT=/opt/beanscale UV_PYTHON=/usr/bin/python3 UV_COMPILE_BYTECODE=1 UV_NO_CACHE=1 UV_FROZEN=1 UV_NO_DEV=1
WORKDIR /src
# Dependencies first: a change of the app doesn't rebuild them.
COPY pyproject.toml uv.lock LICENSE ./
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export SSL_CERT_FILE=/run/ca.crt; fi \
 && /opt/uv/bin/uv sync --no-install-project
COPY app app
RUN --mount=type=secret,id=ca,target=/run/ca.crt \
    if [ -s /run/ca.crt ]; then export SSL_CERT_FILE=/run/ca.crt; fi \
 && touch README.md && /opt/uv/bin/uv sync --no-editable # pyproject.toml requires README.md, the image doesn't

FROM python AS app
COPY --from=build /opt/beanscale /opt/beanscale
ENV PATH=/opt/beanscale/bin:$PATH PYTHONUNBUFFERED=1
USER 65532:65532
ENTRYPOINT ["beanscale"]

FROM ${BASE} AS beanstalkd
RUN apt-get update \
 && apt-get install --yes --no-install-recommends beanstalkd \
 && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/*
COPY scripts/lib/beanstalkd-ready scripts/lib/beanstalkd-listen /usr/local/bin/
USER 65532:65532
EXPOSE 11300
ENTRYPOINT ["beanstalkd-listen"]
