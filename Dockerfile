# Image of the service and of the workers. Build it with: docker build -t workflow-service .
# The base image is pinned by version; pin its digest in your registry.
FROM python:3.13.9-slim-trixie AS packages
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build
COPY requirements.txt constraints.txt ./
RUN python -m venv /venv && /venv/bin/pip install --requirement requirements.txt

FROM python:3.13.9-slim-trixie
ENV PATH=/venv/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    LOG_FORMAT=json \
    DATABASE_PATH=/data/database.sqlite \
    PREFECT_HOME=/data/prefect
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin workflow \
    && mkdir /data && chown 10001:10001 /data
COPY --from=packages /venv /venv
WORKDIR /app
COPY . .
USER 10001:10001
VOLUME /data
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8000/health/ready', timeout=4)"]
CMD ["python", "start_service.py", "--host", "0.0.0.0", "--port", "8000"]
