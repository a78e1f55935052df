{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
{{cfg.name}}-venv:
  virtualenv.managed:
    - name: {{data.py_root}}
    - pip_download_cache: {{cfg.data_root}}/cache
    - user: {{cfg.user}}
    - runas: {{cfg.user}}
  cmd.run:
    - name: . bin/activate && pip install -r "{{data.requirements}}"
    - cwd: {{data.py_root}}
    - runas: {{cfg.user}}
    - watch:
      - virtualenv: {{cfg.name}}-venv
