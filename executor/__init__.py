"""shard-executor: runs tasks as Kubernetes pods.

Public names are looked up on first use (PEP 562), so that importing the
package imports neither airflow nor kubernetes.
"""

__version__ = "0.1.0"
