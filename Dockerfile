# The image of the programs. `make docker-build` builds it (hack/image), where no registry can be reached on a base made on the spot.

# Any image with Python 3.11 or later as `python3`, its module venv, a shell and the GNU tools.
ARG BASE_IMAGE=docker.io/library/python:3.13-slim

FROM ${BASE_IMAGE} AS builder

RUN touch /start

# uv comes by its hash, for x86-64 and for ARM, and all else by the hashes in uv.lock. The secret `ca` holds certificate authorities of a
# proxy that looks into TLS.
COPY pyproject.toml uv.lock /src/
RUN --mount=type=secret,id=ca,target=/run/ca.pem \
    if [ -s /run/ca.pem ]; then export PIP_CERT=/run/ca.pem SSL_CERT_FILE=/run/ca.pem; fi; \
    python3 -m venv /uv \
    && printf '%s ' uv==0.13.9 \
        --hash=sha256:d7f459fe4fd247d830351c75686d3996ace3c6f3f728eb0e85a30b7ada0cef19 \
        --hash=sha256:ecb6028d79dc96fbeafffe5c8af62a7099487ebc05a701e76714eebcffd06375 > /uv/requirements.txt \
    && /uv/bin/pip install --quiet --no-cache-dir --require-hashes --requirement /uv/requirements.txt \
    && UV_PROJECT_ENVIRONMENT=/opt/msa /uv/bin/uv sync --quiet --project /src --locked --no-dev --no-install-project \
        --no-cache --link-mode=copy --no-python-downloads --python "$(command -v python3)"

# Left out: the environment's scripts; and kubernetes_asyncio, half of the whole (47 MB compiled), which only consumers' own programs use
# (msa.client). The rest is compiled so that no file's time is asked for.
COPY msa /src/msa
RUN site=$(/opt/msa/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))') \
    && mv /src/msa "$site/" \
    && find /opt/msa/bin -not -name 'python*' -not -type d -delete \
    && rm -r "$site/kubernetes_asyncio" \
    && /opt/msa/bin/python -m compileall -q --invalidation-mode unchecked-hash "$site"

# Fails if what was left out is missed. What it compiles of the standard library goes along: the public base has nothing compiled, and
# nobody may write into a running image.
RUN /opt/msa/bin/python -c 'import msa.cli.agent, msa.cli.cp_creds, msa.cli.manager, msa.cli.execute, msa.cli.leave, msa.cli.log_level, msa.agent.app, \
        msa.hub.app, msa.client.connect; from msa.kube import chains, exec_plugin, kubeconfig, oidc' \
    && mkdir -p /image/opt && mv /opt/msa /image/opt/ \
    && find "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" -name site-packages -prune \
        -o -name '*.pyc' -newer /start -exec cp --parents --preserve=timestamps '{}' /image ';'

# The programs: name in the root folder, and the module whose `main` it is.
RUN for program in \
        msa:msa.cli.main \
        cp-creds:msa.cli.cp_creds \
    ; do \
        printf '#!/opt/msa/bin/python -P\nfrom %s import main\n\nmain()\n' "${program#*:}" > "/image/${program%%:*}" \
        && chmod 755 "/image/${program%%:*}" || exit 1 \
    ; done \
    && chmod -R go=u-w /image

FROM ${BASE_IMAGE}

ARG VERSION=""
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="managed-serviceaccount" \
      org.opencontainers.image.description="Managed ServiceAccount for Open Cluster Management: identities on managed clusters, their tokens fresh on the hub." \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.source="${SOURCE}"

# The base's pip, and what makes one.
RUN rm -rf /usr/local/bin/pip* /usr/local/lib/python3*/site-packages/pip* /usr/local/lib/python3*/ensurepip \
        /usr/lib/python3*/ensurepip /usr/share/python-wheels

COPY --from=builder /image/ /

ENV MSA_COMMIT="${REVISION}"
USER 65532:65532
WORKDIR /
ENTRYPOINT ["/msa"]
