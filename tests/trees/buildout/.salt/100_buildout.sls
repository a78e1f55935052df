{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
{% set kernel = salt['cmd.run']('uname -r') %}
{{cfg.name}}-config:
  file.managed:
    - name: {{cfg.project_root}}/etc/sys/settings-local.cfg
    - source: salt://makina-projects/{{cfg.name}}/files/settings-local.cfg
    - template: jinja
    - makedirs: true
    - user: {{cfg.user}}
    - group: {{cfg.group}}
    - defaults:
        project: {{cfg.name}}
{{cfg.name}}-buildout:
  buildout.installed:
    - name: {{cfg.project_root}}
    - config: {{data.config}}
    - python: {{data.py}}
    - runas: {{cfg.user}}
    - watch:
      - file: {{cfg.name}}-config
