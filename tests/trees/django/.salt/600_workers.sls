{% import "makina-states/services/monitoring/circus/macros.jinja" as circus with context %}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-states.services.monitoring.circus
{% set circus_data = {
  'cmd': '{0}/bin/gunicorn -w 2 -b 127.0.0.1:{1} demo.wsgi:application'.format(data.py_root, data.port),
  'environment': {'DJANGO_SETTINGS_MODULE': data.DJANGO_SETTINGS_MODULE},
  'uid': cfg.user,
  'gid': cfg.group,
  'copy_env': True,
  'working_dir': data.app_root,
  'warmup_delay': "10",
  'force_restart': true,
  'max_age': 24*60*60} %}
{{ circus.circusAddWatcher(cfg.name + "-django", **circus_data) }}
