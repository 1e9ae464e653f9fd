# An Airflow deployment of this package. The base image brings Python only; everything else is locked in requirements.txt.
FROM python:3.11-slim-bookworm

# pyodbc needs the system's unixODBC; Microsoft's driver itself is accepted and added by whoever runs the image.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends libodbc2 \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --create-home --uid 50000 airflow

WORKDIR /opt/lpm
COPY requirements.txt ./
RUN pip install --no-cache-dir --require-hashes -r requirements.txt

COPY dags ./dags
COPY plugins ./plugins
COPY include ./include
COPY asa ./asa
# What publish_docs builds the runbook site from. The results are there after `make bench` only, hence the pattern.
COPY docs ./docs
COPY mkdocs.yml ./
COPY bench/results.jso[n] ./bench/

ENV AIRFLOW_HOME=/opt/airflow \
    AIRFLOW__CORE__DAGS_FOLDER=/opt/lpm/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/lpm/plugins \
    AIRFLOW__CORE__LOAD_EXAMPLES=False \
    PYTHONPATH=/opt/lpm/include
RUN mkdir -p /opt/airflow && chown airflow /opt/airflow
USER airflow
# One image, four components: override with scheduler, dag-processor or triggerer.
ENTRYPOINT ["airflow"]
CMD ["api-server"]
