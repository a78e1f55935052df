{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
include:
  - makina-projects.{{cfg.name}}.include.configs
{{cfg.name}}-checked:
  cmd.run:
    - name: {{data.py}} app.py --check
    - cwd: {{data.app_root}}
    - watch:
      - mc_proxy: {{cfg.name}}-configs-post
