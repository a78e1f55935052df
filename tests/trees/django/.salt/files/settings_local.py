{% set cfg = salt['mc_utils.json_load'](cfg) %}
SECRET_KEY = "{{cfg.data.secret_key}}"
ALLOWED_HOSTS = ["{{cfg.data.domain}}", "localhost", "127.0.0.1"]
STATIC_ROOT = "{{cfg.data.static}}"
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "{{cfg.data_root}}/db.sqlite"}}
