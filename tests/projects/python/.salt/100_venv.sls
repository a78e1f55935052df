{% set cfg = opts.ms_project %}
{% set data = cfg.data %}
{{cfg.name}}-venv:
  cmd.run:
    - name: python3 -m venv --without-pip {{data.py_root}}
    - unless: test -x {{data.py}}
{{cfg.name}}-modules:
  cmd.run:
    - name: test "$({{data.py}} -c 'import sys; print(sys.prefix)')" = "{{data.py_root}}"
    - require:
      - cmd: {{cfg.name}}-venv
