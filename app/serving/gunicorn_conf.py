"""gunicorn's configuration file, not to be imported: `gunicorn -c app/serving/gunicorn_conf.py`."""

from app.serving.configuration import gunicorn_settings
from config.settings import settings

globals().update(gunicorn_settings(settings()))
