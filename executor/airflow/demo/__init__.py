"""A real Airflow on the development cluster, to look at and to try things on."""
