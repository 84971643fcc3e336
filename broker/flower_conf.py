"""What Flower reads, and nothing else imports: `celery flower --conf=broker/flower_conf.py`."""

from broker.flower_settings import flower_settings
from config.settings import settings

globals().update(flower_settings(settings()))
