"""The Airflow front door; the only package that imports airflow."""
