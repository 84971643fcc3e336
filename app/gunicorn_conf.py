"""gunicorn's own configuration, from the settings: `gunicorn -c app/gunicorn_conf.py`."""

from config.settings import settings

_settings = settings()

wsgi_app = "app.server:create_app()"
_host = f"[{_settings.host}]" if ":" in _settings.host else _settings.host
bind = f"{_host}:{_settings.port}"
workers = _settings.api_processes
worker_class = "gthread"
threads = _settings.api_threads
timeout = 60
graceful_timeout = 30
keepalive = 15
accesslog = None
loglevel = _settings.log_level.lower()
proc_name = "snapsku api"
