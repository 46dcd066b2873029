# semiseg in a container: docker build -t semiseg .          (for a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128)
#                         docker run --rm --network none -v "$PWD:/data" --user "$(id -u)" semiseg check /data/MyDataset
FROM python:3.13-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH=torch==2.13.0
# hadolint ignore=DL3013
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "$TORCH"
# What the wheel is built from; tests/test_docs.py compares this with pyproject.toml.
COPY pyproject.toml hatch_build.py README.md LICENSE /source/
COPY web /source/web
COPY src /source/src
RUN pip install --no-cache-dir "/source[fast]" && rm -r /source \
 && useradd --create-home --uid 1000 semiseg && mkdir -p /data /cache && chmod 777 /data /cache
USER 1000
WORKDIR /data
ENV SEMISEG_HOME=/cache MPLCONFIGDIR=/cache/matplotlib
ENTRYPOINT ["semiseg"]
CMD ["--help"]
