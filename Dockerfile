# semiseg in a container: docker build -t semiseg .          (for a GPU: --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cu128)
#                         docker run --rm --network none -v "$PWD:/data" --user "$(id -u)" semiseg check /data/MyDataset
FROM python:3.13-slim
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
ARG TORCH=torch==2.13.0
RUN pip install --no-cache-dir --index-url "$TORCH_INDEX" "$TORCH"
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN pip install --no-cache-dir "/source[fast]" && rm -r /source \
 && useradd --create-home --uid 1000 semiseg && mkdir -p /data /cache && chmod 777 /data /cache
USER semiseg
WORKDIR /data
ENV SEMISEG_HOME=/cache MPLCONFIGDIR=/cache/matplotlib
ENTRYPOINT ["semiseg"]
CMD ["--help"]
