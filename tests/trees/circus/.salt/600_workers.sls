{% import "makina-states/services/monitoring/circus/macros.jinja" as circus with context %}
{% set cfg = opts.ms_project %}
include:
  - makina-states.services.monitoring.circus
{% for name, cmd in cfg.data.workers.items() %}
{{ circus.circusAddWatcher(cfg.name ~ "-" ~ name, cmd=cmd, uid=cfg.user, gid=cfg.group, copy_env=True,
                           working_dir=cfg.project_root, warmup_delay="10", stop_children=True,
                           environment={"PORT": cfg.data.port}, max_age=86400) }}
{% endfor %}
{{cfg.name}}-status:
  cmd.run:
    - name: circusctl status
    - onlyif: test -S /var/run/circusd.sock
