{% set cfg = opts['ms_project'] %}
include:
  - makina-states.projects.{{cfg['api_version']}}.{{cfg['installer']}}.archive

{{cfg.name}}-dump:
  cmd.run:
    - name: su postgres -c "pg_dump -Fc {{cfg.data.db}}" > {{cfg.data.dump}}/{{cfg.data.db}}.dump
    - onlyif: su postgres -c "psql -l" | grep -q {{cfg.data.db}}
