"""Flower's configuration file, not to be imported: `celery flower --conf=broker/flower_conf.py`."""

from broker.flower_settings import flower_settings
from config.settings import settings

globals().update(flower_settings(settings()))
