"""Flower's own configuration, from the settings: `celery flower --conf=workers/flower_conf.py`.

Messages carry ids only, so the arguments that Flower shows hold no picture and no URL.
"""

from config.settings import settings

address = settings().host
port = settings().flower_port
purge_offline_workers = 300
max_tasks = 10_000
