{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-projects.{{cfg.name}}.include.configs
{% for command in ('migrate --noinput', 'collectstatic --noinput') %}
{{cfg.name}}-{{command.split()[0]}}:
  cmd.run:
    - name: {{data.py_root}}/bin/python manage.py {{command}}
    - cwd: {{data.app_root}}
    - user: {{cfg.user}}
    - env:
      - DJANGO_SETTINGS_MODULE: {{data.DJANGO_SETTINGS_MODULE}}
    - watch:
      - file: {{cfg.name}}-config-settings_local.py
{% endfor %}
