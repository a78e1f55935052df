{% import "makina-states/services/monitoring/circus/macros.jinja" as circus with context %}
{% set cfg = opts.ms_project %}
{% set data = cfg.data %}

include:
  - makina-states.services.monitoring.circus

# the worker is started again at each deployment
/bin/true:
  cmd.run:
    - watch_in:
      - mc_proxy: circus-pre-conf

{% set circus_data = {
  'cmd': '{0}/bin/start.sh --port {1} "a b" 100% $HOME'.format(cfg.data_root, data.port),
  'environment': {'APP_PASSWORD': data.password, 'APP_MODE': 'a "b" $c'},
  'uid': cfg.user,
  'gid': cfg.group,
  'copy_env': True,
  'working_dir': data.app_root,
  'stop_signal': 2,
  'warmup_delay': "10",
  'max_age': 24*60*60} %}
{{ circus.circusAddWatcher(cfg.name+'-app', **circus_data) }}
