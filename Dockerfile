FROM python:3.13-slim-trixie

# With PostgreSQL, `shinchoku backup` and `restore` call its own tools, of the server's version or newer.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client-17 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --no-create-home --shell /usr/sbin/nologin shinchoku \
    && install --directory --owner shinchoku /data
WORKDIR /srv/shinchoku

# The same steps as `make run`. The libraries come first: they change less often than the code.
COPY requirements.lock .
RUN python -m pip install --no-cache-dir --require-hashes --only-binary :all: -r requirements.lock
COPY . .
RUN python -m pip install --no-index --no-build-isolation --no-deps --editable . \
    && python -m compileall -q app migrations

USER 10001
ENV PYTHONUNBUFFERED=1 \
    SHINCHOKU_DATABASE_URL=sqlite:////data/shinchoku.db
VOLUME /data
EXPOSE 8000

HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD python -c "import http.client as http; \
    server = http.HTTPConnection('127.0.0.1', 8000, timeout=4); server.request('GET', '/readyz'); \
    exit(server.getresponse().status != 200)"

# exec: the server itself receives the signal to stop, and finishes what it is answering.
CMD ["sh", "-c", "shinchoku migrate && exec shinchoku serve --host 0.0.0.0 --port 8000"]
