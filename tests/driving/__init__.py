"""Drives an executor of Airflow as a scheduler does, on a real metadata database, for tests and the bench."""
